"""Compare arms on the same questions: means, paired differences, slices, what is missing."""

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

_FEW = 30  # questions below which a comparison says little
_MOST_VALUES = 20  # of a slice; the rest goes together
_LEAST_IN_SLICE = 5
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
    """Compare the scores of arms, question by question in the same order, with those of the baseline.

    `slices` gives by name a value for each question, `groups` what makes questions depend on each other
    (their document), `errors` how many calls of an arm failed. Returns `questions`, `warnings`, `arms`
    (metric → n, missing, inapplicable, mean, low, high), `contrasts` (arm → metric → pairs, missing,
    difference, low, high, p, and bounds: what it would be if all that is missing had been worst
    for one arm and best for the other), and `slices` the same for each value.
    """
    lengths = {len(rows) for rows in scores.values()}
    if len(lengths) != 1 or baseline not in scores:
        raise ValueError(f"arms of {sorted(lengths)} questions, baseline {baseline}: {', '.join(scores)}")
    everything = list(range(lengths.pop()))
    whole = _compare(scores, baseline, everything, list(METRICS), groups, seed)
    result: Result = {
        "questions": len(everything),
        "baseline": baseline,
        "warnings": warn(scores, errors or {}),
        **whole,
        "slices": {},
    }
    for name, values in (slices or {}).items():
        pooled = _pool(values)
        if len(set(pooled)) < 2:
            continue
        told = result["slices"][name] = {}
        for value in sorted(set(pooled)):
            rows = [at for at in everything if pooled[at] == value]
            told[value] = {
                "questions": len(rows),
                **_compare(scores, baseline, rows, list(KEY), groups, seed),
            }
    return result


def _compare(
    scores: Mapping[str, Sequence[Scores]],
    baseline: str,
    rows: Sequence[int],
    metrics: Sequence[str],
    groups: Sequence[object] | None,
    seed: int,
) -> Result:

    chosen = {arm: [of[at] for at in rows] for arm, of in scores.items()}
    metrics = [name for name in metrics if any(name in row for of in chosen.values() for row in of)]
    if not metrics:
        return {"arms": {arm: {} for arm in chosen}, "contrasts": {}}
    kept = None if groups is None else [groups[at] for at in rows]
    tables = {arm: _table(of, metrics) for arm, of in chosen.items()}
    arms: Result = {}
    for arm, of in chosen.items():
        means = mean_intervals(tables[arm], seed=seed, groups=kept)
        arms[arm] = {}
        for name, mean in zip(metrics, means, strict=True):
            absent = sum(name not in row for row in of)
            if absent < len(of):
                arms[arm][name] = {
                    **mean,
                    "low": _clip(mean["low"], METRICS[name]),
                    "high": _clip(mean["high"], METRICS[name]),
                    "missing": mean["missing"] - absent,
                    "inapplicable": absent,
                }
    contrasts: Result = {}
    for arm, of in chosen.items():
        if arm == baseline:
            continue
        found = paired_differences(tables[baseline], tables[arm], seed=seed, groups=kept)
        contrasts[arm] = {}
        for name, difference in zip(metrics, found, strict=True):
            both = [(a, b) for a, b in zip(chosen[baseline], of, strict=True) if name in a and name in b]
            missing = sum(a[name] is None or b[name] is None for a, b in both)
            if both:
                bounds = _bounds([(a[name], b[name]) for a, b in both], METRICS[name]) if missing else None
                contrasts[arm][name] = {**difference, "missing": missing, "bounds": bounds}
    return {"arms": arms, "contrasts": contrasts}


def _clip(end: float | None, metric: Metric) -> float | None:
    """Keep the end of an interval among the values that a metric can have."""
    if end is None:
        return None
    at_least = end if metric.low is None else max(metric.low, end)
    return at_least if metric.high is None else min(metric.high, at_least)


def _table(rows: Sequence[Scores], metrics: Sequence[str]) -> np.ndarray:
    """Put scores into a float array of shape (questions, metrics), NaN where there is none."""
    import numpy as np

    return np.array(
        [[np.nan if (value := row.get(name)) is None else value for name in metrics] for row in rows]
    ).reshape(len(rows), len(metrics))


def _bounds(pairs: Sequence[tuple[float | None, float | None]], metric: Metric) -> list[float] | None:
    """Give the mean difference at its least and most, whatever the missing scores were (Manski 1989)."""
    low, high = metric.low, metric.high
    if low is None or high is None:
        return None
    least = sum((low if b is None else b) - (high if a is None else a) for a, b in pairs)
    most = sum((high if b is None else b) - (low if a is None else a) for a, b in pairs)
    return [least / len(pairs), most / len(pairs)]


def warn(scores: Mapping[str, Sequence[Scores]], errors: Mapping[str, int]) -> list[str]:
    """Say in sentences what a reader must know before the numbers."""
    said = []
    for arm, rows in scores.items():
        if failed := errors.get(arm, 0):
            said.append(
                f"{failed / len(rows):.0%} of the answers of {arm} are missing ({failed} of {len(rows)} "
                f"calls failed): its means are over the other {len(rows) - failed} questions, differences "
                "over those that both arms answered"
            )
        unread = Counter(
            name for row in rows for name, value in row.items() if value is None and name in JUDGED
        )
        if told := [f"{name} {count}" for name, count in unread.items() if count > failed]:
            said.append(f"of {arm}, scores of the judge are missing or could not be read: {', '.join(told)}")
    count = len(next(iter(scores.values())))
    if count < _FEW:
        said.append(f"only {count} questions: read the intervals, not the means")
    return said


def slices_of(
    questions: Sequence[Mapping[str, Any]],
    golds: Sequence[Gold],
    documents: Sequence[Sequence[Any]],
) -> dict[str, list[str]]:
    """Give the slices of questions: whether their oracle was found, their source, their type."""
    told = {True: "retrieved", False: "not retrieved", None: "not known"}
    return {
        "oracle": [told[oracle_found(hits, gold)] for hits, gold in zip(documents, golds, strict=True)],
        "source": [str(row.get("source") or "not known") for row in questions],
        "type": [str(row.get("type") or question_type(str(row["question"]))) for row in questions],
    }


def question_type(question: str) -> str:
    """Name a question by its English question word; "other" where there is none."""
    match = _WORDS.search(question)
    return match.group(1).lower() if match else "other"


def _pool(values: Sequence[str]) -> list[str]:
    """Put the values that few questions have together, so that a slice stays readable."""
    counts = Counter(values)
    kept = {value for value, count in counts.most_common(_MOST_VALUES) if count >= _LEAST_IN_SLICE}
    if len(counts) - len(kept) == 1:  # there is nothing to put it together with
        kept = set(counts)
    return [value if value in kept else "(others)" for value in values]


def summarise_distractor_sweep(
    sweep: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]],
    golds: Mapping[str, Gold],
    *,
    asked: int,
    seed: int = 42,
) -> Result:
    """Average what each arm reached with the oracle and a growing number of distractors.

    `sweep` holds answers by arm and count. Returns for each arm and count the key metrics; `left_out`
    is how many of the `asked` questions have no known oracle among their hits, or too few others.
    """
    return {
        arm: {str(count): _summarise(rows, golds, KEY, asked, seed) for count, rows in by_count.items()}
        for arm, by_count in sweep.items()
    }


def summarise_without_oracle(
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    golds: Mapping[str, Gold],
    *,
    asked: int,
    seed: int = 42,
) -> Result:
    """Average what each arm did where no document held the answer; `answers` by arm, as for the sweep."""
    return {arm: _summarise(rows, golds, WITHOUT_ORACLE, asked, seed) for arm, rows in answers.items()}


def _summarise(
    rows: Sequence[Mapping[str, Any]],
    golds: Mapping[str, Gold],
    metrics: Sequence[str],
    asked: int,
    seed: int,
) -> Result:
    scores = [score_answer(row, golds[row["id"]]) for row in rows]
    names = [name for name in metrics if any(name in row for row in scores)]
    means = mean_intervals(_table(scores, names), seed=seed) if names else []
    for name, mean in zip(names, means, strict=True):
        mean["low"], mean["high"] = _clip(mean["low"], METRICS[name]), _clip(mean["high"], METRICS[name])
    return {
        "questions": len(rows),
        "left_out": asked - len(rows),
        "failed": sum(bool(row["error"]) for row in rows),
        "metrics": dict(zip(names, means, strict=True)),
    }
