"""Means, paired differences and tests: checked by hand, against scipy, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from tools.raft.evaluate import bootstrap as module
from tools.raft.evaluate.bootstrap import mean_intervals, paired_differences

NAN = float("nan")


def test_only_pairs_are_compared_and_the_rest_counts_as_missing() -> None:
    first = np.array([[0.0], [1.0], [NAN], [0.5], [NAN]])
    second = np.array([[1.0], [1.0], [1.0], [NAN], [NAN]])
    (result,) = paired_differences(first, second, seed=1)
    assert (result["pairs"], result["missing"], result["difference"]) == (2, 3, 0.5)
    (mean,) = mean_intervals(first, seed=1)
    assert (mean["n"], mean["missing"], mean["mean"]) == (3, 2, 0.5)


def test_without_values_there_is_no_estimate() -> None:
    empty = np.full((3, 1), NAN)
    assert paired_differences(empty, empty, seed=1) == [
        {"pairs": 0, "missing": 3, "difference": None, "low": None, "high": None, "p": None}
    ]
    (mean,) = mean_intervals(np.array([[0.5]]), seed=1)
    assert (mean["mean"], mean["low"], mean["high"]) == (0.5, None, None)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random((50, 3))
    assert mean_intervals(values, seed=4) == mean_intervals(values, seed=4)
    assert mean_intervals(values, seed=4) != mean_intervals(values, seed=5)


def test_the_sign_flip_test_agrees_with_scipy() -> None:
    """The reference is scipy's permutation_test, exact below 13 pairs and sampled above."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    for n in (3, 5, 8, 12, 40):
        differences = rng.choice([-0.5, 0.0, 0.25, 1.0], size=n)
        expected = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=20_000 if n > 12 else np.inf,
            rng=np.random.default_rng(3),
        ).pvalue  # fmt: skip
        (result,) = paired_differences(np.zeros((n, 1)), differences[:, None], seed=1)
        assert result["p"] == pytest.approx(expected, abs=0.02 if n > 12 else 1e-9)


def test_a_clear_difference_is_significant_and_no_difference_is_not() -> None:
    rng = np.random.default_rng(3)
    first = rng.random((200, 1))
    (better,) = paired_differences(first, np.clip(first + 0.1, 0, 1), seed=1)
    assert better["p"] is not None and better["low"] is not None
    assert better["p"] < 0.001
    assert better["low"] > 0
    (same,) = paired_differences(first, first.copy(), seed=1)
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)


def simulate(draw, n: int, times: int, groups=None) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Return the share of intervals that cover the true difference, and of tests with p below 0.05.

    Each column is a simulation of its own: sharing the draws does not change the result of any one of them.
    """
    rng = np.random.default_rng(11)
    covered = significant = 0
    for _ in range(times // 100):
        truth, first, second = draw(rng, n)
        for result in paired_differences(first, second, seed=int(rng.integers(1 << 30)), groups=groups):
            covered += result["low"] <= truth <= result["high"]
            significant += result["p"] < 0.05
    return covered / times, significant / times


def normal(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    difficulty = rng.normal(0, 1, (n, 100))
    return 0.3, difficulty + rng.normal(0, 1, (n, 100)), difficulty + 0.3 + rng.normal(0, 1, (n, 100))


def right_or_wrong(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    luck = rng.random((n, 100))  # shared by both arms in half of the questions
    other = np.where(rng.random((n, 100)) < 0.5, luck, rng.random((n, 100)))
    return 0.2, (luck < 0.4).astype(float), (other < 0.6).astype(float)


def like_f1(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    """Mostly zeros and ones, with some values between: means 0.3 and 0.55."""

    def scores(mean: float) -> np.ndarray:
        whole = rng.random((n, 100)) < 0.7
        return np.where(whole, rng.random((n, 100)) < mean, rng.beta(2 * mean, 2 * (1 - mean), (n, 100)))

    return 0.25, scores(0.3), scores(0.55)


@pytest.mark.parametrize(("draw", "n"), [(normal, 30), (right_or_wrong, 100), (like_f1, 60), (like_f1, 200)])
def test_95_percent_intervals_cover_the_truth_95_times_in_100(draw, n: int) -> None:  # type: ignore[no-untyped-def]
    covered, _ = simulate(draw, n, 2000)
    assert 0.93 <= covered <= 0.97


def test_identical_arms_differ_significantly_at_most_5_times_in_100() -> None:
    def same(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
        _, first, _ = like_f1(rng, n)
        _, second, _ = like_f1(rng, n)
        return 0.0, first, second

    covered, significant = simulate(same, 60, 4000)
    assert significant <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 4000)
    assert 0.93 <= covered <= 0.97


def test_questions_about_one_document_are_not_independent() -> None:
    """Forty documents with five questions each, whose scores are correlated."""
    groups = [question // 5 for question in range(200)]

    def clustered(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
        shared = np.repeat(rng.normal(0, 1, (n // 5, 100)), 5, axis=0)
        return 0.0, np.zeros((n, 100)), shared + rng.normal(0, 0.3, (n, 100))

    covered, significant = simulate(clustered, 200, 1000, groups)
    assert 0.93 <= covered <= 0.97
    assert significant <= 0.065
    ungrouped, _ = simulate(clustered, 200, 500)
    assert ungrouped < 0.8, "without groups the intervals are far too narrow"


def test_missing_values_do_not_narrow_the_interval() -> None:
    def with_gaps(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
        truth, first, second = like_f1(rng, n)
        first[rng.random(first.shape) < 0.46] = NAN
        return truth, first, second

    covered, _ = simulate(with_gaps, 100, 1000)
    assert 0.93 <= covered <= 0.97


def test_draws_in_batches_give_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((30, 1))
    at_once = mean_intervals(values, seed=1)
    monkeypatch.setattr(module, "_CELLS", 3000)
    in_batches = mean_intervals(values, seed=1)
    assert in_batches[0]["low"] == pytest.approx(at_once[0]["low"], abs=1e-5)
