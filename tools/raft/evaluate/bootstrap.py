"""Contrast two arms on the same questions: paired differences, confidence intervals and p-values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 4000
_CELLS = 4_000_000  # numbers drawn at a time: 16 MB
_EXACT = 12  # up to this many groups that differ, all 2^n sign patterns are tried


class Mean(TypedDict):
    """The mean of one metric for one arm."""

    n: int
    missing: int
    mean: float | None
    low: float | None  # 95 % interval
    high: float | None


class Difference(TypedDict):
    """The second arm minus the first, over the questions for which both have a value."""

    pairs: int
    missing: int  # questions for which one or both have no value
    difference: float | None
    low: float | None  # 95 % interval
    high: float | None
    p: float | None  # of the sign-flip test


def mean_intervals(values: np.ndarray, *, seed: int, groups: Sequence[object] | None = None) -> list[Mean]:
    """Compute the mean of each column with its bootstrap interval; NaN is missing.

    `values` is float of shape (questions, metrics). Questions of one group (about the same document, say)
    are resampled together, because they are not independent. The interval is the expanded percentile interval
    (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", American Statistician 69(4)):
    the percentile interval, widened to correct its narrowness for few groups. None for fewer than two groups.
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
            "low": _number(lower),
            "high": _number(upper),
        }
        for n, mean, lower, upper in zip(total, means, low, high, strict=True)
    ]


def paired_differences(
    first: np.ndarray, second: np.ndarray, *, seed: int, groups: Sequence[object] | None = None
) -> list[Difference]:
    """Compute for each column the mean of `second - first` over the pairs, with its interval and p-value.

    Both are float of shape (questions, metrics); NaN is missing. The test flips the signs of whole groups:
    exact for up to 12 groups that differ, else by 4,000 random draws (Fisher's randomisation; Efron and
    Tibshirani 1993, section 15.2, for the draws).
    """
    import numpy as np

    if first.shape != second.shape:
        raise ValueError(f"the arms differ in shape: {first.shape} and {second.shape}")
    differences = second - first
    means = mean_intervals(differences, seed=seed, groups=groups)
    present = ~np.isnan(differences)
    sums, _ = _by_group(np.where(present, differences, 0.0), present, groups)
    p_values = _sign_flip(sums, np.random.default_rng(seed + 1))
    return [
        {
            "pairs": mean["n"],
            "missing": mean["missing"],
            "difference": mean["mean"],
            "low": mean["low"],
            "high": mean["high"],
            "p": p if mean["n"] else None,
        }
        for mean, p in zip(means, p_values, strict=True)
    ]


def _by_group(
    values: np.ndarray, present: np.ndarray, groups: Sequence[object] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum values and counts within each group; each result has shape (groups, metrics)."""
    import numpy as np

    if groups is None:
        return values.astype(float), present.astype(float)
    index = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    rows = np.array([index[group] for group in groups], dtype=int)
    sums, counts = np.zeros((2, len(index), values.shape[1]))
    np.add.at(sums, rows, values)
    np.add.at(counts, rows, present)
    return sums, counts


def _bootstrap(
    sums: np.ndarray, counts: np.ndarray, means: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the ends of the 95 % interval of each column's mean."""
    import numpy as np

    groups = len(sums)
    undefined = np.full(sums.shape[1], np.nan)
    if groups < 2:
        return undefined, undefined
    resampled = []
    step = max(1, _CELLS // groups)
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        # How often each group is drawn; all columns share the draws.
        picks = rng.integers(groups, size=(size, groups)) + np.arange(size)[:, None] * groups
        times = np.bincount(picks.ravel(), minlength=size * groups).reshape(size, groups)
        weights = times.astype(np.float32)
        totals = weights @ counts.astype(np.float32)
        nonempty = totals > 0
        resampled.append(np.where(nonempty, (weights @ sums) / np.where(nonempty, totals, 1.0), means))
    deviations = np.concatenate(resampled) - means
    # Only the groups that have a value in a column count towards its sample size.
    sizes = (counts > 0).sum(axis=0)
    factors = np.array([_widening(int(n)) for n in sizes])
    low, high = np.quantile(deviations, [0.025, 0.975], axis=0) if deviations.size else (undefined, undefined)
    return means + low * factors, means + high * factors


def _widening(n: int) -> float:
    """Return the factor by which the percentile interval of n values is too narrow: √(n / (n-1)) · t / z."""
    if n < 2:
        return math.nan
    z, freedom = 1.959964, n - 1
    # Cornish–Fisher expansion of the t quantile, within 1 % from 4 degrees of freedom on.
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return math.sqrt(n / (n - 1)) * t / z


def _sign_flip(sums: np.ndarray, rng: np.random.Generator) -> list[float]:
    """Compute each column's p-value: how often random signs give a sum at least as far from zero."""
    import numpy as np

    groups, columns = sums.shape
    observed = np.abs(sums.sum(axis=0))
    # Sums that are equal up to rounding count as equal.
    threshold = observed - 1e-9 * np.maximum(1.0, np.abs(sums).sum(axis=0))
    exceedances = np.zeros(columns)
    step = max(1, _CELLS // max(1, groups))
    for start in range(0, RESAMPLES, step):
        size = min(step, RESAMPLES - start)
        signs = rng.integers(0, 2, size=(size, groups), dtype=np.int8) * 2.0 - 1.0
        exceedances += (np.abs(signs @ sums) >= threshold).sum(axis=0)
    p_values = (exceedances + 1) / (RESAMPLES + 1)
    for column in range(columns):
        nonzero = sums[np.abs(sums[:, column]) > 1e-12, column]
        if len(nonzero) <= _EXACT:
            patterns = (np.arange(2 ** len(nonzero))[:, None] >> np.arange(len(nonzero))) & 1
            p_values[column] = (np.abs((patterns * 2.0 - 1.0) @ nonzero) >= threshold[column]).mean()
    return p_values.tolist()


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
