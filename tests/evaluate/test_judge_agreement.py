"""A judge's agreement with labels: the measures, the labelled answers, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.evaluate.judge import Verdict
from tools.raft.evaluate.judge_agreement import measure_agreement, read_pairs, spearman, weighted_kappa
from tools.raft.evaluate.metrics import JUDGEMENTS
from tools.raft.files import PROJECT

ROOT = PROJECT


def verdicts(pairs: list[dict[str, Any]], score: Any) -> list[dict[str, Verdict]]:
    return [{name: Verdict(score(pair, name), "") for name in pair["labels"]} for pair in pairs]


def test_the_labelled_answers_are_complete_and_varied() -> None:
    pairs = read_pairs()
    assert len(pairs) >= 40
    assert all(pair["labels"].keys() <= set(JUDGEMENTS) and pair["why"] for pair in pairs)
    for name in ("similarity", "groundedness"):
        assert {pair["labels"][name] for pair in pairs} == {1, 2, 3, 4, 5}
    by_id = {pair["id"]: pair for pair in pairs}
    twins = [(pair, by_id[pair["short"]]) for pair in pairs if "short" in pair]
    assert len(twins) >= 5
    assert all(len(long["answer"]) > 1.5 * len(short["answer"]) for long, short in twins)


def test_a_judge_that_follows_the_labels_agrees() -> None:
    pairs = read_pairs()
    same = verdicts(pairs, lambda pair, name: pair["labels"][name])
    agreement = measure_agreement(pairs, same, same)
    for result in agreement["judgements"].values():
        assert (result["n"], result["missing"], result["exact"]["mean"], result["error"]) == (
            len(pairs),
            0,
            1,
            0,
        )
        assert (result["kappa"], result["correlation"]) == (pytest.approx(1), pytest.approx(1))
    assert agreement["length"]["mean"] == agreement["position"]["mean"] == agreement["moved"]["mean"] == 0


def test_a_useless_judge_is_detected() -> None:
    pairs = read_pairs()
    constant = measure_agreement(pairs, verdicts(pairs, lambda *_: 5), verdicts(pairs, lambda *_: 5))
    similarity = constant["judgements"]["similarity"]
    assert similarity["correlation"] is None
    assert similarity["kappa"] <= 0
    assert similarity["error"] > 1
    silent = measure_agreement(pairs, verdicts(pairs, lambda *_: None), verdicts(pairs, lambda *_: None))
    assert silent["judgements"]["fluency"] == {"n": 0, "missing": len(pairs)}
    assert silent["length"]["mean"] is None


def test_biases_are_measured() -> None:
    pairs = read_pairs()
    wordy = verdicts(pairs, lambda pair, name: 5 if len(pair["answer"]) > 80 else 3)
    reversed_verdicts = [
        {"groundedness": Verdict(max(1, by_name["groundedness"].score - 1), "")} for by_name in wordy
    ]
    agreement = measure_agreement(pairs, wordy, reversed_verdicts)  # type: ignore[arg-type]
    assert agreement["length"]["low"] > 1
    assert agreement["position"]["mean"] == -1
    assert agreement["moved"]["mean"] == 1


def test_the_measures_agree_with_scipy_and_scikit_learn() -> None:
    """The references: scipy.stats.spearmanr and sklearn.metrics.cohen_kappa_score, installed with sentence-transformers."""
    stats = pytest.importorskip("scipy.stats")
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    for _ in range(200):
        first = rng.integers(1, 6, 30)
        second = np.clip(first + rng.integers(-2, 3, 30), 1, 5)
        assert spearman(first, second) == pytest.approx(stats.spearmanr(first, second).statistic)
        assert weighted_kappa(first, second) == pytest.approx(
            metrics.cohen_kappa_score(first, second, weights="quadratic")
        )


@pytest.mark.parametrize(
    "line",
    ["{}", "nothing", '{"id": "a", "question": "?", "gold": "x", "answer": "x", "documents": [], "labels": {"similarity": 6}}'],
)  # fmt: skip
def test_an_invalid_line_is_reported_by_number(tmp_path: Path, line: str) -> None:
    (tmp_path / "pairs.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(UserError, match="line 1: want id"):
        read_pairs(tmp_path / "pairs.jsonl")


def test_the_command_reports_the_agreement(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools", "judge-check", "--out", str(tmp_path), "--judge"]
    with scripted_endpoint() as endpoint:
        done = subprocess.run([*command, f"{endpoint.url}:counter"], cwd=ROOT, capture_output=True, text=True)
        calls = endpoint.stats()["calls"]
        subprocess.run([*command, f"{endpoint.url}:counter"], cwd=ROOT, capture_output=True, check=True)
        assert endpoint.stats()["calls"] == calls
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "judge.json").read_text(encoding="utf-8"))
    assert result["judgements"]["groundedness"]["n"] == result["pairs"] == len(read_pairs())
    assert done.stdout.splitlines()[-1].startswith("Judge: counter on ")
    assert "length: the longer of two equivalent answers" in done.stdout
