"""Summarise refusals: how many were right, and how accurate the answers are at each share answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .bootstrap import mean_intervals
from .score import Gold, oracle_found, score_answer

_POINTS = 50  # of a curve

Row = Mapping[str, Any]
Asked = tuple[Row, Gold]  # an answer, and what is known about its question


def summarise_refusals(arms: Mapping[str, Sequence[Asked]], *, seed: int = 42) -> dict[str, Any]:
    """Count each arm's refusals of answerable questions and of unanswerable ones, and trace its curve.

    A question is answerable if its oracle is among the documents, or if that is unknown and it has an answer;
    it is unanswerable without its oracle, and if it has no answer at all. Arms without documents, and those
    that were not asked both kinds, are left out. `precision` is the share of the refusals that are right,
    `recall` that of the unanswerable questions that are refused, `balanced_accuracy` the mean of `recall` and
    the share of the answerable questions that are answered. Questions about the same documents are resampled
    together.
    """
    summaries = {}
    for arm, asked in arms.items():
        known = [
            (row, gold, kind)
            for row, gold in asked
            if not row["error"] and row["documents"] and (kind := _is_answerable(row, gold)) is not None
        ]
        if {kind for _, _, kind in known} == {True, False}:
            summaries[arm] = _summarise(known, seed)
    return summaries


def _is_answerable(row: Row, gold: Gold) -> bool | None:
    """Return whether a question can be answered with its documents; None if that is unknown."""
    found = oracle_found(row["documents"], gold)
    if gold.answers == () or found is False:
        return False
    return True if found or gold.answers else None


def _summarise(known: Sequence[tuple[Row, Gold, bool]], seed: int) -> dict[str, Any]:
    import numpy as np

    refused = np.array([not row["answered"] for row, _, _ in known])
    answerable = np.array([kind for _, _, kind in known])
    table = np.full((len(known), 2), np.nan)
    table[answerable, 0], table[~answerable, 1] = refused[answerable], refused[~answerable]
    groups = [" ".join(sorted(gold.relevant)) or row["question"] for row, gold, _ in known]
    wrongly, rightly = mean_intervals(table, seed=seed, groups=groups)
    return {
        "refused_wrongly": wrongly,
        "refused_rightly": rightly,
        "recall": rightly["mean"],
        "precision": float(refused[~answerable].sum() / refused.sum()) if refused.any() else None,
        "balanced_accuracy": float(1 - refused[answerable].mean() + refused[~answerable].mean()) / 2,
        "curve": trace([(row, gold) for row, gold, _ in known]),
    }


def trace(asked: Sequence[Asked]) -> list[dict[str, float]]:
    """Return the coverage and the accuracy for ever lower thresholds of the evidence.

    Coverage is the share of the questions that are answered, accuracy the mean F1 of these answers; an
    answer to a question without one counts 0. Without evidence there is one point, that of all answers.
    """
    ranked = sorted(asked, key=lambda pair: -(pair[0].get("evidence") or 0.0))
    graded = any(row.get("evidence") is not None for row, _ in asked)
    step = max(1, len(ranked) // _POINTS) if graded else len(ranked)
    points: list[dict[str, float]] = []
    total, answered = 0.0, 0
    for number, (row, gold) in enumerate(ranked, start=1):
        if row["answered"]:
            answered += 1
            total += score_answer(row, gold).get("f1") or 0.0
        if answered and (number == len(ranked) or number % step == 0):
            point = {"coverage": answered / len(ranked), "accuracy": total / answered}
            if not points or point != points[-1]:
                points.append(point)
    return points
