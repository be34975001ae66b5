"""Costs: known prices, unknown models, and the estimate of a generation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.generate.estimate import estimate_generation
from tools.raft.models.endpoint import EMBEDDED_MODEL
from tools.raft.models.pricing import Price, context_of, dollars, find_price, load_prices, show_dollars


def test_the_demonstration_cost_about_80_dollars() -> None:
    """18,000 rows from Llama 3 70B took 10 M prompt and 3.7 M completion tokens, about 80 dollars."""
    assert dollars("Meta-Llama-3-70B-Instruct", 10_000_000, 3_700_000, load_prices()) == pytest.approx(
        80, abs=1
    )


def test_the_embedded_model_is_free_and_an_unknown_one_has_no_cost() -> None:
    prices = load_prices()
    assert dollars("embedded", 10**9, 10**9, prices) == dollars(EMBEDDED_MODEL, 10**9, 10**9, prices) == 0
    assert dollars("my-deployment", 1000, 1000, prices) is None
    assert "unknown" in show_dollars(None, "my-deployment") and "--prices" in show_dollars(None)
    assert show_dollars(0) == "$0.00"
    assert show_dollars(0.004) == "less than $0.01"
    assert show_dollars(1234.5) == "$1,234.50"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", "gpt-4o"),
        ("GPT-4o", "gpt-4o"),
        ("gpt-4o-2024-08-06", "gpt-4o"),
        ("gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),  # a snapshot with a price of its own
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("meta-llama-3.1-8b-instruct", "Meta-Llama-3.1-8B-Instruct"),
        ("ft:gpt-4o-mini-2024-07-18:acme:bats:9aB1", "ft:gpt-4o-mini"),
        ("gpt-4o-audio-preview", None),
        ("gpt-4o-ours", None),
        ("gpt-4", None),
        ("gpt-4.1-pico", None),
        ("ft:gpt-4o-mini-ours", None),
        ("vendor/gpt-4o", None),
        ("", None),
    ],
)
def test_finds_a_model_by_name_but_not_by_similarity(model: str, expected: str | None) -> None:
    price = find_price(model, load_prices())
    assert (price.name if price else None) == expected


def test_every_price_has_a_source_and_a_date() -> None:
    for price in load_prices().values():
        assert price.source, price.name
        assert price.as_of or not price.input, price.name


def test_the_users_prices_take_precedence(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(
        json.dumps({"models": {"GPT-4o": {"input": 1, "output": 2}, "ours": {"input": 3, "output": 4}}})
    )
    prices = load_prices(file)
    assert dollars("gpt-4o", 1_000_000, 1_000_000, prices) == 3
    assert dollars("ours", 1_000_000, 0, prices) == 3
    assert dollars("gpt-4o-mini", 1_000_000, 0, prices) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", 'no "models"'),
        ('{"models": {"a": {"input": -1, "output": 1}}}', "input of a is -1"),
        ('{"models": {"a": {"input": "1", "output": 1}}}', "input of a is '1'"),
        ('{"models": {"a": {"input": 1}}}', "both input and output"),
        ('{"models": {"a": {"in": 1, "output": 1}}}', "a has 'in'"),
        ('{"models": {"a": 1}}', "a has 1"),
        ('{"models": {"a": {}, "A": {}}}', "twice"),
    ],
)
def test_reports_an_invalid_price_file(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_prices(file)
    assert str(file) in str(caught.value)
    with pytest.raises(UserError, match="cannot read"):
        load_prices(tmp_path / "missing.json")


def test_the_context_for_fine_tuning_is_the_shorter_one() -> None:
    prices = load_prices()
    assert context_of("gpt-4.1-mini", prices) == 65_536
    assert context_of("SmolLM2-135M-Instruct", prices) == 8_192
    assert context_of("unheard-of", prices) is None


def test_an_estimate_counts_calls_and_tokens() -> None:
    prices = {"m": Price("m", input=1.0, output=10.0)}
    estimate = estimate_generation(
        [100, 300],
        questions=5,
        prompt_overhead_tokens=50,
        question_tokens=20,
        answer_tokens=200,
        model="m",
        prices=prices,
    )
    assert estimate.calls == 2 + 10
    assert estimate.prompt_tokens == (150 + 350) + 5 * (100 + 50 + 20) + 5 * (300 + 50 + 20)
    assert estimate.completion_tokens == 10 * 20 + 10 * 200
    assert estimate.dollars == pytest.approx((estimate.prompt_tokens + 10 * estimate.completion_tokens) / 1e6)


def test_given_questions_cost_one_answer_each_and_no_question() -> None:
    estimate = estimate_generation(
        [100, 300], questions=0, prompt_overhead_tokens=50, given=3, model="unheard-of"
    )
    assert estimate.calls == 3
    assert estimate.prompt_tokens == 3 * (200 + 50 + 20)
    assert estimate.completion_tokens == 3 * 200
    assert estimate.dollars is None
    assert estimate_generation([], questions=5, prompt_overhead_tokens=50, model="embedded").calls == 0
