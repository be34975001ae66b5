"""Contrast two arms on the same questions: paired differences, intervals, and whether chance would do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 4000
_CELLS = 4_000_000  # numbers of one draw held at a time: 16 MB
_EXACT = 12  # groups that differ up to which all 2^n signs are tried


class Mean(TypedDict):
    """What one arm reached in one metric."""

    n: int
    missing: int
    mean: float | None
    low: float | None  # 95 % interval
    high: float | None


class Difference(TypedDict):
    """The second arm less the first, over the questions that both have."""

    pairs: int
    missing: int  # questions that only one of them, or neither, has
    difference: float | None
    low: float | None  # 95 % interval
    high: float | None
    p: float | None  # of the sign-flip test: how often chance alone gives as much


def mean_intervals(values: np.ndarray, *, seed: int, groups: Sequence[object] | None = None) -> list[Mean]:
    """Give the mean of each column with its bootstrap interval; NaN is missing.

    `values` is float of shape (questions, metrics). Questions of one group (about one document, say)
    are drawn together, as they are not independent. The interval is the expanded percentile interval
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", American Statistician 69(4)):
    the percentile interval, wider by what few groups make it too narrow. None below two groups.
    """
    import numpy as np

    present = ~np.isnan(values)
    sums, counts = _by_group(np.where(present, values, 0.0), present, groups)
    total = counts.sum(axis=0)
    means = np.divide(sums.sum(axis=0), total, out=np.full(len(total), np.nan), where=total > 0)
    low, high = _bootstrap(sums, counts, means, np.random.default_rng(seed))
    return [
        {
            "n": int(n),
            "missing": int(len(values) - n),
            "mean": _number(mean),
            "low": _number(below),
            "high": _number(above),
        }
        for n, mean, below, above in zip(total, means, low, high, strict=True)
    ]


def paired_differences(
    first: np.ndarray, second: np.ndarray, *, seed: int, groups: Sequence[object] | None = None
) -> list[Difference]:
    """Give for each column the mean of `second - first` over the pairs, with interval and test.

    Both are float of shape (questions, metrics), a question a row; NaN is missing. The test flips
    the signs of whole groups: exact up to 12 that differ, else 4,000 draws (Fisher's randomisation;
    Efron and Tibshirani 1993, section 15.2, for the draws).
    """
    import numpy as np

    if first.shape != second.shape:
        raise ValueError(f"arms of different questions: {first.shape} and {second.shape}")
    differences = second - first
    means = mean_intervals(differences, seed=seed, groups=groups)
    present = ~np.isnan(differences)
    sums, _ = _by_group(np.where(present, differences, 0.0), present, groups)
    chances = _sign_flip(sums, np.random.default_rng(seed + 1))
    return [
        {
            "pairs": mean["n"],
            "missing": mean["missing"],
            "difference": mean["mean"],
            "low": mean["low"],
            "high": mean["high"],
            "p": chance if mean["n"] else None,
        }
        for mean, chance in zip(means, chances, strict=True)
    ]


def _by_group(
    values: np.ndarray, present: np.ndarray, groups: Sequence[object] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum values and counts over the groups: each of shape (groups, metrics)."""
    import numpy as np

    if groups is None:
        return values.astype(float), present.astype(float)
    places = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    at = np.array([places[group] for group in groups], dtype=int)
    sums, counts = np.zeros((2, len(places), values.shape[1]))
    np.add.at(sums, at, values)
    np.add.at(counts, at, present)
    return sums, counts


def _bootstrap(
    sums: np.ndarray, counts: np.ndarray, means: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Give the ends of the 95 % interval of each column's mean."""
    import numpy as np

    groups = len(sums)
    nothing = np.full(sums.shape[1], np.nan)
    if groups < 2:
        return nothing, nothing
    drawn = []
    step = max(1, _CELLS // groups)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        # How often each group is drawn; one draw serves all the columns.
        picks = rng.integers(groups, size=(size, groups)) + np.arange(size)[:, None] * groups
        times = np.bincount(picks.ravel(), minlength=size * groups).reshape(size, groups)
        weights = times.astype(np.float32)
        there = weights @ counts.astype(np.float32)
        some = there > 0
        drawn.append(np.where(some, (weights @ sums) / np.where(some, there, 1.0), means))
    spread = np.concatenate(drawn) - means
    # Each column has as many groups as have a value there.
    have = (counts > 0).sum(axis=0)
    wider = np.array([_widening(int(n)) for n in have])
    low, high = np.quantile(spread, [0.025, 0.975], axis=0) if spread.size else (nothing, nothing)
    return means + low * wider, means + high * wider


def _widening(n: int) -> float:
    """Give by how much the percentile interval of n values is too narrow: √(n / (n-1)) and t for z."""
    if n < 2:
        return math.nan
    z, freedom = 1.959964, n - 1
    # Cornish and Fisher's expansion of the t quantile, within 1 % from 4 degrees of freedom on.
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return math.sqrt(n / (n - 1)) * t / z


def _sign_flip(sums: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Give for each column how often random signs give a sum at least as far from zero."""
    import numpy as np

    groups, columns = sums.shape
    observed = np.abs(sums.sum(axis=0))
    # What is equal up to rounding counts as equal.
    bar = observed - 1e-9 * np.maximum(1.0, np.abs(sums).sum(axis=0))
    as_far = np.zeros(columns)
    step = max(1, _CELLS // max(1, groups))
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        signs = rng.integers(0, 2, size=(size, groups), dtype=np.int8) * 2.0 - 1.0
        as_far += (np.abs(signs @ sums) >= bar).sum(axis=0)
    chances = (as_far + 1) / (RESAMPLES + 1)
    for column in range(columns):
        unequal = sums[np.abs(sums[:, column]) > 1e-12, column]
        if len(unequal) <= _EXACT:
            patterns = (np.arange(2 ** len(unequal))[:, None] >> np.arange(len(unequal))) & 1
            chances[column] = (np.abs((patterns * 2.0 - 1.0) @ unequal) >= bar[column]).mean()
    return chances.tolist()


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
