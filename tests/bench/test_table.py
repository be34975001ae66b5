"""The figures of a column: shares with intervals, missing answers, the constant reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench.files import write_benchmarks
from tools.raft.bench.columns import COLUMNS
from tools.raft.bench.report import contrast_rows
from tools.raft.bench.table import summarise_column


def row(answer: str, error: str = "") -> dict[str, Any]:
    return {
        "answer": answer, "error": error, "citations": [], "documents": [], "answered": True, "note": "", "finish_reason": "stop",
        "prompt_tokens": 10, "completion_tokens": 2, "seconds": 0.5, "model": "m",
    }  # fmt: skip


def test_shares_have_intervals_at_either_end_and_missing_answers_are_not_wrong(tmp_path: Path) -> None:
    column = COLUMNS["pubmedqa"]
    questions = column.read(write_benchmarks(tmp_path)).test
    right = [row(question.answer) for question in questions]
    answers = {
        "rag": [row("maybe not")] * 12,
        "raft": [*right[:6], *[row("", "no reply")] * 6],
        "dsf_rag": [row("", "no reply")] * 12,
    }
    result = summarise_column(column, questions, questions, answers, column.open_scorer(tmp_path), {}, 1)
    none, all_right, missing = (
        result["arms"][arm]["metrics"]["accuracy"] for arm in ("rag", "raft", "dsf_rag")
    )
    assert (none["mean"], none["low"]) == (0, 0) and none["high"] == pytest.approx(1 - 0.025 ** (1 / 12))
    assert (all_right["mean"], all_right["n"], all_right["missing"], all_right["high"]) == (1, 6, 6, 1)
    assert all_right["low"] == pytest.approx(0.025 ** (1 / 6))
    assert 0.5 < all_right["low"] < 1
    assert (missing["mean"], missing["n"], missing["missing"]) == (None, 0, 12)
    assert result["contrasts"]["raft - rag"]["pairs"] == 6
    constant = result["constant"]["metrics"]
    yes = sum(question.answer == "yes" for question in questions)
    assert constant["accuracy"]["mean"] == yes / 12
    assert constant["macro_f1"]["mean"] == pytest.approx(2 * yes / (12 + yes) / 3)


def test_a_difference_that_rounds_to_nothing_has_no_minus() -> None:
    contrast = {"difference": -0.0002, "low": -0.004, "high": 0.026, "p": 0.4}
    [shown] = contrast_rows({"columns": {"torchhub": {"contrasts": {"rag - closed_book": contrast}}}})
    assert shown["cells"] == ["+0.0 (+0 to +3), p 0.400"]
