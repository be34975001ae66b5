"""How long models live: a warning before, a refusal after, silence where nothing is known."""

from __future__ import annotations

import logging
from datetime import date
from pathlib import Path

import pytest

from tools.raft.choices import BackendName
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend
from tools.raft.models import lives
from tools.raft.models.endpoint import resolve_endpoint
from tools.raft.models.lives import (
    IGNORE,
    Host,
    TuningApi,
    check_alive,
    check_pairs,
    check_trainable,
    find_life,
    host_of,
    load_lives,
)
from tools.raft.models.pricing import find_price, load_prices

OPENAI, AZURE = "https://api.openai.com/v1", "https://mine.openai.azure.com"
NOW = date(2026, 11, 27)


@pytest.fixture(autouse=True)
def _nothing_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(lives, "_told", set())
    monkeypatch.delenv(IGNORE, raising=False)


def test_warns_once_of_what_goes_soon(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        check_alive(OPENAI, "gpt-4o", today=NOW)
    assert caplog.messages == ["gpt-4o at OpenAI retires in 48 days, on 2027-01-14; in its place: gpt-6-luna"]


@pytest.mark.parametrize(
    "model", ["gpt-4o", "GPT-4o", "gpt-4o-2024-08-06", "ft:gpt-4o-2024-08-06:acme:raft:9aB1"]
)
def test_refuses_what_is_gone_in_one_line(model: str) -> None:
    check_alive(OPENAI, model, today=date(2027, 1, 13))
    with pytest.raises(
        UserError, match=r"at OpenAI was retired on 2027-01-14: use gpt-6-luna \(RAFT_IGN"
    ) as error:
        check_alive(OPENAI, model, today=date(2027, 1, 14))
    assert "\n" not in str(error.value)


def test_only_some_models_are_trained_on_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    for host, model in (
        ("openai", "gpt-4.1-mini-2025-04-14"),
        ("openai", "ft:gpt-4.1-2025-04-14:acme:raft:9aB1"),
        ("azure", "gpt-4.1"),
        ("azure", "gpt-4o-2024-08-06.ft-0123"),
        (None, "whatever"),
    ):
        check_pairs(host, model)
    for host, model in (("openai", "gpt-4o"), ("azure", "gpt-4.1-nano"), ("azure", "Ministral-3B")):
        with pytest.raises(
            UserError, match=f"{model} at .* is not trained on pairs: use .*gpt-4.1, .*--backend trl"
        ):
            check_pairs(host, model)
        monkeypatch.setenv(IGNORE, "1")
        check_pairs(host, model)
        monkeypatch.delenv(IGNORE)


def test_a_deployment_may_have_been_upgraded_under_its_name(caplog: pytest.LogCaptureFixture) -> None:
    check_alive(AZURE, "gpt-4o", today=date(2027, 4, 14))
    assert "gpt-4o at Azure was retired on 2027-04-14" in caplog.text and "gpt-5.6-luna" in caplog.text


@pytest.mark.parametrize(
    ("url", "model", "today"),
    [
        ("http://127.0.0.1:8000/v1", "gpt-4o", date(2028, 1, 1)),  # whatever it is called, it is the user's
        ("https://proxy.example/api.openai.com/v1", "gpt-4o", date(2028, 1, 1)),
        (OPENAI, "gpt-4o-ours", date(2028, 1, 1)),
        (AZURE, "my-deployment", date(2028, 1, 1)),
        (OPENAI, "gpt-6-luna", date(2028, 1, 1)),  # no date announced
        (OPENAI, "gpt-4o", date(2026, 10, 15)),  # 91 days before
        (AZURE, "gpt-4.1-mini-2025-04-14.ft-0123abcd", date(2027, 4, 20)),  # outlives its base
    ],
)
def test_says_nothing_otherwise(url: str, model: str, today: date, caplog: pytest.LogCaptureFixture) -> None:
    check_alive(url, model, today=today)
    assert not caplog.messages


def test_the_user_may_know_better(caplog: pytest.LogCaptureFixture) -> None:
    gone = date(2028, 1, 1)
    check_alive(OPENAI, "gpt-4o", today=gone, env={IGNORE: "1"})
    check_trainable("openai", "gpt-4o", "openai", today=gone, env={IGNORE: "1"})
    assert not caplog.messages
    with pytest.raises(UserError):
        check_alive(OPENAI, "gpt-4o", today=gone, env={IGNORE: "0"})


def test_a_training_that_ends_soon_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    check_trainable("openai", "gpt-4o-mini-2024-07-18", "openai", today=NOW)
    [line] = caplog.messages
    assert "no new fine-tuning jobs in 40 days, from 2027-01-06 on" in line
    assert "models tuned from it retire on 2027-01-14" in line and "azure_openai" in line
    caplog.clear()
    check_trainable("azure", "gpt-4.1-mini-2025-04-14", "openai", today=NOW)
    check_trainable(None, "gpt-4o", "openai", today=NOW)
    check_trainable("azure", "a-model-of-theirs", "azure-ml", today=NOW)
    assert not caplog.messages


@pytest.mark.parametrize(
    ("host", "model", "api", "message"),
    [
        ("openai", "gpt-4.1", "openai", "no new fine-tuning jobs since 2027-01-06: tune a model at Azure"),
        ("openai", "gpt-6-luna", "openai", "cannot be fine-tuned by the fine-tuning API"),
        ("azure", "Meta-Llama-3.1-8B-Instruct", "azure-ml", "since 2026-06-13: use azureml-meta/Llama-3.3"),
        ("azure", "gpt-oss-20b", "azure-ml", "cannot be fine-tuned by an Azure ML job"),
    ],
)  # fmt: skip
def test_a_training_that_is_not_taken_is_refused(
    host: Host, model: str, api: TuningApi, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_trainable(host, model, api, today=date(2027, 1, 15))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (OPENAI, "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        (AZURE, "azure"),
        ("https://mine.services.ai.azure.com/openai/v1", "azure"),
        ("https://llama.eastus2.models.ai.azure.com/v1", "azure"),
        ("https://openai.azure.com.example/v1", None),
        ("http://localhost:8000/v1", None),
    ],
)
def test_the_address_decides_whose_model_it_is(url: str, host: Host | None) -> None:
    assert host_of(url) == host


def test_the_table_is_sound() -> None:
    """Each row says where and when it was read, and what stands in a model's place outlives the next winter."""
    for host, table in load_lives().items():
        for life in table.values():
            assert life.source and life.as_of and life.train_instead, life.name
            if life.retires:
                assert life.instead or life.retires.year > 2027, life.name
            if life.instead:
                successor = table[life.instead]
                assert successor.retires is None or successor.retires > date(2027, 12, 31), life.name
            if life.training_ends and life.tuned_retires:
                assert life.training_ends <= life.tuned_retires, life.name
            assert find_life(host, life.name) == (life, False)


def test_models_of_the_examples_have_a_price() -> None:
    prices = load_prices()
    assert all(
        find_price(model, prices) for model in ("gpt-6-luna", "gpt-5.6-luna", "text-embedding-3-small")
    )


class Later(date):
    @classmethod
    def today(cls) -> date:  # type: ignore[override]
        return date(2027, 2, 1)


def test_resolving_a_model_to_call_checks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lives, "date", Later)
    env = {"OPENAI_API_KEY": "key"}
    with pytest.raises(UserError, match="was retired"):
        resolve_endpoint("openai:gpt-4o", env=env)
    with pytest.raises(UserError, match="was retired"):
        resolve_endpoint(f"{OPENAI}:gpt-4o", env=env)
    assert resolve_endpoint("openai:gpt-4o", env={**env, IGNORE: "1"}).model == "gpt-4o"
    assert resolve_endpoint("openai:gpt-4o", env=env, to_call=False).model == "gpt-4o"


@pytest.mark.parametrize(
    ("backend", "model", "connection", "message"),
    [
        ("openai", "gpt-4o-mini", "", "at OpenAI takes no new fine-tuning jobs since 2027-01-06"),
        ("openai", "gpt-4.1-mini", "azure_openai", None),
        ("azure-ml", "azureml-meta/Meta-Llama-3.1-8B-Instruct:4", "", "since 2026-06-13"),
        ("azure-ml", "azure-openai/gpt-4.1-mini:2025-04-14", "", None),
        ("azure-ml", "azureml-meta/Llama-3.3-70B-Instruct:9", "", None),
        ("local", "embedded", "", None),
    ],
)
def test_a_backend_refuses_a_base_model_without_a_key(
    backend: BackendName,
    model: str,
    connection: str,
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lives, "date", Later)
    for name in ("OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    service = open_backend(backend, model, tmp_path, connection=connection)
    if message is None:
        service.check_life(FineTuneSpec(tmp_path, model))
    else:
        with pytest.raises(UserError, match=message):
            service.check_life(FineTuneSpec(tmp_path, model))
