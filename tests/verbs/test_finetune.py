"""The time of a local training, told and asked for before it starts."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tools.raft.errors import UserError
from tools.raft.finetune.backend import Estimate, FineTuneSpec
from tools.raft.finetune.local import backend
from tools.raft.finetune.local.backend import LocalBackend
from tools.raft.finetune.local.estimate import TrainingTime
from tools.verbs.confirm_training import confirm_training
from tools.verbs.finetune import finetune

HOUR = TrainingTime(30.0, 10.0, [60.0] * 18, tokens=[4000] * 18, rows=[4] * 18, validations=4)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def output(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setattr(backend, "_measure_in_child", lambda spec: HOUR)
    return io.StringIO()


def confirm(folder: Path, output: io.StringIO, *, minutes: float | None = None, **options: Any) -> None:
    dataset = folder / "dataset"
    jobs = {folder: (LocalBackend(folder), FineTuneSpec(dataset, "embedded", minutes=minutes))}
    console = Console(file=output, width=200)
    confirm_training(jobs, console, **{"yes": False, "dry_run": False, "paid": False, **options})


def test_the_time_is_told_before_a_long_training_is_confirmed(
    tmp_path: Path, output: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter("ny")
    asked: list[str] = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("typer.confirm", lambda question: asked.append(question) or next(answers) == "y")
    with pytest.raises(UserError, match="nothing was trained; --minutes N cuts the time"):
        confirm(tmp_path, output)
    line = "embedded, 3 epochs: about 216,000 tokens trained (about 57 min here, 64 tokens/s)\n"
    assert output.getvalue() == line
    confirm(tmp_path, output)
    assert asked == ["Train here for about 57 min?"] * 2


@pytest.mark.parametrize("options", [{"minutes": 10.0}, {"yes": True}, {"dry_run": True}])
def test_a_short_a_confirmed_and_a_dry_run_are_not_asked_about(
    tmp_path: Path, output: io.StringIO, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("typer.confirm", lambda question: pytest.fail("asked"))
    confirm(tmp_path, output, **options)
    assert "tokens/s" in output.getvalue()


def test_a_script_is_not_asked(tmp_path: Path, output: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    confirm(tmp_path, output, minutes=5)
    assert "0.22 of 3 epochs: 56 of 72 rows are not trained on" in output.getvalue()
    confirm(tmp_path, output)


class _Priced(LocalBackend):
    def estimate(self, spec: FineTuneSpec) -> Estimate:
        return Estimate(1000, self.dollars, "scripted")

    dollars: float | None = 12.5


@pytest.mark.parametrize(
    ("dollars", "amount"), [(12.5, r"about \$12.50"), (None, "an amount that is not known")]
)
def test_a_job_that_may_cost_more_than_the_ceiling_is_not_submitted(
    tmp_path: Path, dollars: float | None, amount: str
) -> None:
    service = _Priced(tmp_path)
    service.dollars = dollars
    jobs = {tmp_path: (service, FineTuneSpec(tmp_path / "dataset", "m"))}
    console, options = Console(file=io.StringIO(), width=200), {"yes": True, "dry_run": False, "paid": True}
    with pytest.raises(UserError, match=rf"1 job would cost {amount}: more than --max-cost \$5.00"):
        confirm_training(jobs, console, max_cost=5.0, **options)
    if dollars:
        confirm_training(jobs, console, max_cost=20.0, **options)


@pytest.mark.parametrize("place", [{"backend": "local"}, {"backend": "openai"}, {"export": "trl"}])
def test_patience_is_refused_where_it_would_be_ignored(place: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--patience is for --backend trl"):
        finetune(tmp_path, "any", tmp_path / "out", patience=2, **place)
    assert not (tmp_path / "out").exists()
