"""Compare arms on the same questions: means, paired differences, slices, missing answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .bootstrap import mean_intervals, paired_differences
from .metrics import JUDGED, KEY, METRICS, WITHOUT_ORACLE, Metric, Scores
from .score import Gold, oracle_found, score_answer

if TYPE_CHECKING:
    import numpy as np

_FEW_QUESTIONS = 30  # with fewer, a comparison gets a warning
_MAX_SLICE_VALUES = 20  # the rarer values of a slice are pooled
_MIN_SLICE_SIZE = 5  # in questions
_WORDS = re.compile(
    r"\b(how (?:many|much|long|far|old|often)|who|whom|whose|what|when|where|which|why|how)\b", re.I
)

Result = dict[str, Any]


def compare_arms(
    scores: Mapping[str, Sequence[Scores]],
    *,
    baseline: str,
    slices: Mapping[str, Sequence[str]] | None = None,
    groups: Sequence[object] | None = None,
    errors: Mapping[str, int] | None = None,
    seed: int = 42,
) -> Result:
    """Compare each arm's scores with the baseline's; all arms have the same questions in the same order.

    `slices` holds by name a value for each question, `groups` the group of each question (its document) if
    questions are not independent, `errors` the number of failed calls by arm. Returns `questions`,
    `warnings`, `arms` (metric → n, missing, inapplicable, mean, low, high), `contrasts` (arm → metric →
    pairs, missing, difference, low, high, p, and bounds: the difference if every missing score were the
    worst for one arm and the best for the other), and `slices` with the same for each value.
    """
    lengths = {len(rows) for rows in scores.values()}
    if len(lengths) != 1 or baseline not in scores:
        raise ValueError(f"arms with {sorted(lengths)} questions, baseline {baseline}: {', '.join(scores)}")
    everything = list(range(lengths.pop()))
    overall = _compare(scores, baseline, everything, list(METRICS), groups, seed)
    result: Result = {
        "questions": len(everything),
        "baseline": baseline,
        "warnings": warn(scores, errors or {}),
        **overall,
        "slices": {},
    }
    for name, values in (slices or {}).items():
        pooled = _pool(values)
        if len(set(pooled)) < 2:
            continue
        by_value = result["slices"][name] = {}
        for value in sorted(set(pooled)):
            positions = [i for i in everything if pooled[i] == value]
            by_value[value] = {
                "questions": len(positions),
                **_compare(scores, baseline, positions, list(KEY), groups, seed),
            }
    return result


def _compare(
    scores: Mapping[str, Sequence[Scores]],
    baseline: str,
    positions: Sequence[int],
    metrics: Sequence[str],
    groups: Sequence[object] | None,
    seed: int,
) -> Result:
    """Compute means and contrasts over the questions at these positions."""
    selected = {arm: [rows[i] for i in positions] for arm, rows in scores.items()}
    metrics = [name for name in metrics if any(name in row for rows in selected.values() for row in rows)]
    if not metrics:
        return {"arms": {arm: {} for arm in selected}, "contrasts": {}}
    groups = None if groups is None else [groups[i] for i in positions]
    tables = {arm: _table(rows, metrics) for arm, rows in selected.items()}
    arms: Result = {}
    for arm, rows in selected.items():
        means = mean_intervals(tables[arm], seed=seed, groups=groups)
        arms[arm] = {}
        for name, mean in zip(metrics, means, strict=True):
            inapplicable = sum(name not in row for row in rows)
            if inapplicable < len(rows):
                arms[arm][name] = {
                    **mean,
                    "low": _clip(mean["low"], METRICS[name]),
                    "high": _clip(mean["high"], METRICS[name]),
                    "missing": mean["missing"] - inapplicable,
                    "inapplicable": inapplicable,
                }
    contrasts: Result = {}
    for arm, rows in selected.items():
        if arm == baseline:
            continue
        differences = paired_differences(tables[baseline], tables[arm], seed=seed, groups=groups)
        contrasts[arm] = {}
        for name, difference in zip(metrics, differences, strict=True):
            pairs = [
                (a[name], b[name])
                for a, b in zip(selected[baseline], rows, strict=True)
                if name in a and name in b
            ]
            missing = sum(a is None or b is None for a, b in pairs)
            if pairs:
                bounds = _bounds(pairs, METRICS[name]) if missing else None
                contrasts[arm][name] = {**difference, "missing": missing, "bounds": bounds}
    return {"arms": arms, "contrasts": contrasts}


def _clip(end: float | None, metric: Metric) -> float | None:
    """Clip the end of an interval to the metric's bounds."""
    if end is None:
        return None
    clipped = end if metric.low is None else max(metric.low, end)
    return clipped if metric.high is None else min(metric.high, clipped)


def _table(rows: Sequence[Scores], metrics: Sequence[str]) -> np.ndarray:
    """Arrange scores in a float array of shape (questions, metrics), with NaN for those without a value."""
    import numpy as np

    return np.array(
        [[np.nan if (value := row.get(name)) is None else value for name in metrics] for row in rows]
    ).reshape(len(rows), len(metrics))


def _bounds(pairs: Sequence[tuple[float | None, float | None]], metric: Metric) -> list[float] | None:
    """Compute the worst-case bounds of the mean difference over the missing scores (Manski 1989)."""
    low, high = metric.low, metric.high
    if low is None or high is None:
        return None
    lower = sum((low if b is None else b) - (high if a is None else a) for a, b in pairs)
    upper = sum((high if b is None else b) - (low if a is None else a) for a, b in pairs)
    return [lower / len(pairs), upper / len(pairs)]


def warn(scores: Mapping[str, Sequence[Scores]], errors: Mapping[str, int]) -> list[str]:
    """Return in sentences what a reader must know before the numbers."""
    warnings = []
    for arm, rows in scores.items():
        if failed := errors.get(arm, 0):
            warnings.append(
                f"{failed / len(rows):.0%} of the answers of {arm} are missing ({failed} of {len(rows)} "
                f"calls failed): its means are over the other {len(rows) - failed} questions, differences "
                "over those that both arms answered"
            )
        unscored = Counter(
            name for row in rows for name, value in row.items() if value is None and name in JUDGED
        )
        if counts := [f"{name} {count}" for name, count in unscored.items() if count > failed]:
            warnings.append(
                f"of {arm}, scores of the judge are missing or could not be read: {', '.join(counts)}"
            )
    count = len(next(iter(scores.values())))
    if count < _FEW_QUESTIONS:
        warnings.append(f"only {count} questions: read the intervals, not the means")
    return warnings


def slices_of(
    questions: Sequence[Mapping[str, Any]],
    golds: Sequence[Gold],
    documents: Sequence[Sequence[Any]],
) -> dict[str, list[str]]:
    """Return the slices of the questions: whether their oracle was retrieved, their source, their type."""
    labels = {True: "retrieved", False: "not retrieved", None: "not known"}
    return {
        "oracle": [labels[oracle_found(hits, gold)] for hits, gold in zip(documents, golds, strict=True)],
        "source": [str(row.get("source") or "not known") for row in questions],
        "type": [str(row.get("type") or question_type(str(row["question"]))) for row in questions],
    }


def question_type(question: str) -> str:
    """Return the English question word of a question; "other" if there is none."""
    match = _WORDS.search(question)
    return match.group(1).lower() if match else "other"


def _pool(values: Sequence[str]) -> list[str]:
    """Pool the values that few questions have, so that a slice stays readable."""
    counts = Counter(values)
    frequent = {value for value, count in counts.most_common(_MAX_SLICE_VALUES) if count >= _MIN_SLICE_SIZE}
    if len(counts) - len(frequent) == 1:  # pooling a single value would only hide its name
        frequent = set(counts)
    return [value if value in frequent else "(others)" for value in values]


def summarise_distractor_sweep(
    sweep: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]],
    golds: Mapping[str, Gold],
    *,
    total: int,
    seed: int = 42,
) -> Result:
    """Average each arm's scores with the oracle and a growing number of distractors.

    `sweep` holds answers by arm and number of distractors. Returns the key metrics for each; `left_out` is
    how many of the `total` questions have no known oracle among their hits, or too few distractors.
    """
    return {
        arm: {str(count): _summarise(rows, golds, KEY, total, seed) for count, rows in by_count.items()}
        for arm, by_count in sweep.items()
    }


def summarise_without_oracle(
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    golds: Mapping[str, Gold],
    *,
    total: int,
    seed: int = 42,
) -> Result:
    """Average each arm's scores with documents that do not contain the answer; `answers` is by arm."""
    return {arm: _summarise(rows, golds, WITHOUT_ORACLE, total, seed) for arm, rows in answers.items()}


def _summarise(
    rows: Sequence[Mapping[str, Any]],
    golds: Mapping[str, Gold],
    metrics: Sequence[str],
    total: int,
    seed: int,
) -> Result:
    scores = [score_answer(row, golds[row["id"]]) for row in rows]
    names = [name for name in metrics if any(name in row for row in scores)]
    means = mean_intervals(_table(scores, names), seed=seed) if names else []
    for name, mean in zip(names, means, strict=True):
        mean["low"], mean["high"] = _clip(mean["low"], METRICS[name]), _clip(mean["high"], METRICS[name])
    return {
        "questions": len(rows),
        "left_out": total - len(rows),
        "failed": sum(bool(row["error"]) for row in rows),
        "metrics": dict(zip(names, means, strict=True)),
    }
