"""Summarise a column of the table: means of every arm, paired differences, the constant baseline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..evaluate.bootstrap import Difference, Mean, mean_intervals, paired_differences
from ..evaluate.cost import cost_arm
from ..models.pricing import Price
from .columns import Column, Score
from .questions import Question

Row = Mapping[str, Any]
Scores = Sequence[Mapping[str, float | None]]

# What the paper argues from: RAFT against other ways to use the same data, and what each part adds.
CONTRASTS = (
    ("dsf_rag", "raft"),
    ("rag", "raft"),
    ("dsf", "raft"),
    ("closed_book", "rag"),
    ("dsf", "dsf_rag"),
)


def summarise_column(
    column: Column,
    questions: Sequence[Question],
    every: Sequence[Question],
    answers: Mapping[str, Sequence[Row]],
    score: Score,
    prices: Mapping[str, Price],
    seed: int,
) -> dict[str, Any]:
    """Score the answers of all arms to a column's questions, and summarise them; `every` are all it has.

    A question without a reply is missing, not wrong. Questions of one group are resampled together.
    """
    groups = [question.group for question in questions]
    scores = {arm: _score(questions, rows, score) for arm, rows in answers.items()}
    arms = {}
    for arm, rows in answers.items():
        nothing: Mean = {"n": 0, "missing": len(rows), "mean": None, "low": None, "high": None}
        means = {column.metric: nothing} | _means(scores[arm], groups, seed)
        means |= _whole(column.summarise(questions, rows), means)
        cost = cost_arm(rows, rows[0]["model"], prices) if rows else None
        arms[arm] = {
            "metrics": {name: means[name] for name in column.metrics if name in means},
            "missing": sum(bool(row["error"]) for row in rows),
            "refused": sum(not row["answered"] for row in rows if not row["error"]),
            "cut_off": sum(row["finish_reason"] == "length" for row in rows),
            "malformed": sum(bool(row["note"]) for row in rows if not row["error"]),
            "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
            "completion_tokens": sum(row["completion_tokens"] for row in rows),
            "call_seconds": round(sum(row["seconds"] or 0.0 for row in rows), 1),
            "dollars_per_1000": cost["dollars_per_1000"] if cost else None,
        }
    return {
        "title": column.title,
        "metric": column.metric,
        "about": dict(column.metrics),
        "asked": len(questions),
        "of": len(every),
        "arms": arms,
        "contrasts": {
            f"{second} - {first}": _contrast(column.metric, scores[first], scores[second], groups, seed)
            for first, second in CONTRASTS
            if first in scores and second in scores
        },
        "constant": {
            "reply": column.constant,
            "metrics": _summarise_constant(column, questions, score, seed),
            "of_all": _summarise_constant(column, every, score, seed),
        },
        "paper": dict(column.paper),
    }


def _score(questions: Sequence[Question], rows: Sequence[Row], score: Score) -> Scores:
    return [
        {} if row["error"] else score(question, row) for question, row in zip(questions, rows, strict=True)
    ]


def _summarise_constant(
    column: Column, questions: Sequence[Question], score: Score, seed: int
) -> dict[str, Mean]:
    reply = {"answer": column.constant, "citations": [], "documents": [], "error": ""}
    replies = [reply] * len(questions)
    means = _means(_score(questions, replies, score), [question.group for question in questions], seed)
    return means | _whole(column.summarise(questions, replies), means)


def _means(scores: Scores, groups: Sequence[str], seed: int) -> dict[str, Mean]:
    import numpy as np

    names = list(dict.fromkeys(name for row in scores for name in row))
    if not names:
        return {}
    values = np.array([[_number(row.get(name)) for name in names] for row in scores])
    means = mean_intervals(values, seed=seed, groups=groups)
    known = [{group for group, row in zip(groups, scores, strict=True) if name in row} for name in names]
    return {name: _bound(mean, len(own)) for name, mean, own in zip(names, means, known, strict=True)}


def _bound(mean: Mean, groups: int) -> Mean:
    """Keep the interval of a share within 0 and 1, and give one to a share at either end.

    Where all values are equal, no resample differs. The interval is then the exact one of the binomial
    distribution (Clopper and Pearson 1934), with as many independent values as there are groups.
    """
    if mean["mean"] is None or mean["low"] is None or mean["high"] is None:
        return mean
    margin = 1 - 0.025 ** (1 / groups)
    low = 1 - margin if mean["mean"] == 1 else max(0.0, mean["low"])
    high = margin if mean["mean"] == 0 else min(1.0, mean["high"])
    return {**mean, "low": low, "high": high}


def _whole(values: Mapping[str, float], means: Mapping[str, Mean]) -> dict[str, Mean]:
    """Return figures of all answers together as means without an interval."""
    first = next(iter(means.values()), None)
    n, missing = (first["n"], first["missing"]) if first else (0, 0)
    return {
        name: {"n": n, "missing": missing, "mean": value, "low": None, "high": None}
        for name, value in values.items()
    }


def _contrast(metric: str, first: Scores, second: Scores, groups: Sequence[str], seed: int) -> Difference:
    import numpy as np

    one, other = (np.array([[_number(row.get(metric))] for row in rows]) for rows in (first, second))
    return paired_differences(one, other, seed=seed, groups=groups)[0]


def _number(value: float | None) -> float:
    return math.nan if value is None else value
