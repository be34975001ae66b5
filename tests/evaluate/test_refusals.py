"""Refusals are counted by whether the documents hold the answer, and the curve shows what a threshold costs."""

from __future__ import annotations

from typing import Any

import pytest

from tools.raft.evaluate.refusals import summarise_refusals, trace
from tools.raft.evaluate.score import Gold


def asked(number: int, answer: str, *, oracle: bool, evidence: float | None = None) -> tuple[Any, Gold]:
    row = {
        "question": f"Question {number}?",
        "answer": answer or "The documents do not say.",
        "answered": bool(answer),
        "reasoning": "",
        "citations": [],
        "error": "",
        "evidence": evidence,
        "documents": [{"id": f"{number}" if oracle else "other", "source": "x.txt"}],
    }
    return row, Gold(("otter",), frozenset([f"{number}"]))


def test_precision_recall_and_balanced_accuracy() -> None:
    arm = [
        *(asked(i, "otter", oracle=True) for i in range(7)),
        asked(7, "", oracle=True),
        *(asked(i, "", oracle=False) for i in range(3)),
        asked(3, "heron", oracle=False),
    ]
    result = summarise_refusals({"raft": arm, "one kind": arm[:8]})
    assert list(result) == ["raft"], "without unanswerable questions there is nothing to count"
    assert result["raft"]["refused_wrongly"]["mean"] == pytest.approx(1 / 8)
    assert result["raft"]["recall"] == result["raft"]["refused_rightly"]["mean"] == 0.75
    assert result["raft"]["precision"] == 0.75
    assert result["raft"]["balanced_accuracy"] == pytest.approx((7 / 8 + 3 / 4) / 2)


def test_failed_calls_and_unknown_oracles_count_as_neither() -> None:
    failed = asked(1, "", oracle=True)
    failed[0]["error"] = "HTTP 500"
    unknown = (asked(2, "", oracle=True)[0], Gold())
    no_answer = (asked(3, "", oracle=True)[0], Gold(()))
    known = [asked(4, "otter", oracle=True), asked(4, "", oracle=False)]
    result = summarise_refusals({"raft": [failed, unknown, no_answer, *known]})["raft"]
    assert (result["refused_wrongly"]["n"], result["refused_rightly"]["n"]) == (1, 2)


def test_the_curve_falls_where_evidence_is_weak() -> None:
    rows = [asked(i, "otter", oracle=True, evidence=1 - i / 100) for i in range(10)]
    rows += [asked(i, "heron", oracle=False, evidence=i / 100) for i in range(10)]
    curve = trace(rows)
    assert curve[0] == {"coverage": 1 / 20, "accuracy": 1.0}
    assert curve[-1] == {"coverage": 1.0, "accuracy": 0.5}
    assert [point["accuracy"] for point in curve] == sorted(
        (point["accuracy"] for point in curve), reverse=True
    )
    without = [({**row, "evidence": None}, gold) for row, gold in rows]
    assert trace(without) == [{"coverage": 1.0, "accuracy": 0.5}], "without evidence, one point"
