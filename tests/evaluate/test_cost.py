"""The cost of an arm, and when training has paid for itself."""

from __future__ import annotations

from typing import Any

import pytest

from tools.raft.evaluate.cost import break_even, cost_arm
from tools.raft.models.pricing import Price

PRICES = {
    "large": Price("large", input=3780, output=11340),  # dollars per 1,000,000 tokens
    "small": Price("small", input=520, output=670, hosting_hour=3.09),
}


def answers(count: int, prompt: int = 1000, completion: int = 100) -> list[dict[str, Any]]:
    return [{"error": "", "prompt_tokens": prompt, "completion_tokens": completion} for _ in range(count)]


def test_costs_are_measured_tokens_times_prices() -> None:
    rows = [*answers(9), {"error": "HTTP 500", "prompt_tokens": 0, "completion_tokens": 0}, *answers(1, 0, 0)]
    cost = cost_arm(rows, "large", PRICES)
    assert (cost["measured"], cost["unmeasured"]) == (9, 1)
    assert cost["dollars_per_1000"] == pytest.approx(1000 * (1000 * 3780 + 100 * 11340) / 1e6)
    assert cost_arm(rows, "nobody", PRICES)["dollars_per_1000"] is None
    assert cost_arm(answers(2, 0, 0), "large", PRICES)["dollars_per_1000"] is None


def test_training_breaks_even_after_enough_questions() -> None:
    large, small = cost_arm(answers(5), "large", PRICES), cost_arm(answers(5), "small", PRICES)
    result = break_even(large, small, dataset=80, training=52.5)
    saved = (3780 - 520) / 1000 + (11340 - 670) / 10_000
    assert result["ratio"] == pytest.approx((3.78 + 1.134) / (0.52 + 0.067))
    assert result["questions"] == pytest.approx(132.5 / saved, abs=1)
    assert break_even(small, large, dataset=80, training=1)["questions"] is None, (
        "a more expensive arm never breaks even"
    )
    assert break_even(large, small)["questions"] is None, "the cost of training is unknown"
    assert break_even(large, cost_arm([], "small", PRICES), training=1)["ratio"] is None
