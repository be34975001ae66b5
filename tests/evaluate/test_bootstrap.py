"""Means, paired differences and tests: counted by hand, by scipy, and in simulation."""

from __future__ import annotations

import numpy as np
import pytest

from tools.raft.evaluate import bootstrap as module
from tools.raft.evaluate.bootstrap import mean_intervals, paired_differences

NAN = float("nan")


def test_only_pairs_are_compared_and_the_rest_is_counted() -> None:
    first = np.array([[0.0], [1.0], [NAN], [0.5], [NAN]])
    second = np.array([[1.0], [1.0], [1.0], [NAN], [NAN]])
    (found,) = paired_differences(first, second, seed=1)
    assert (found["pairs"], found["missing"], found["difference"]) == (2, 3, 0.5)
    (mean,) = mean_intervals(first, seed=1)
    assert (mean["n"], mean["missing"], mean["mean"]) == (3, 2, 0.5)


def test_nothing_at_all_gives_no_number() -> None:
    empty = np.full((3, 1), NAN)
    assert paired_differences(empty, empty, seed=1) == [
        {"pairs": 0, "missing": 3, "difference": None, "low": None, "high": None, "p": None}
    ]
    (one,) = mean_intervals(np.array([[0.5]]), seed=1)
    assert (one["mean"], one["low"], one["high"]) == (0.5, None, None)


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random((50, 3))
    assert mean_intervals(values, seed=4) == mean_intervals(values, seed=4)
    assert mean_intervals(values, seed=4) != mean_intervals(values, seed=5)


def test_the_sign_flip_test_equals_scipys() -> None:
    """The reference is scipy's permutation_test, exact below 13 pairs and drawn above."""
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(2)
    for n in (3, 5, 8, 12, 40):
        differences = rng.choice([-0.5, 0.0, 0.25, 1.0], size=n)
        theirs = stats.permutation_test(
            (differences,), np.mean, permutation_type="samples", n_resamples=20_000 if n > 12 else np.inf,
            rng=np.random.default_rng(3),
        ).pvalue  # fmt: skip
        (found,) = paired_differences(np.zeros((n, 1)), differences[:, None], seed=1)
        assert found["p"] == pytest.approx(theirs, abs=0.02 if n > 12 else 1e-9)


def test_a_clear_difference_is_told_and_none_is_not() -> None:
    rng = np.random.default_rng(3)
    first = rng.random((200, 1))
    (better,) = paired_differences(first, np.clip(first + 0.1, 0, 1), seed=1)
    assert better["p"] is not None and better["low"] is not None
    assert better["p"] < 0.001
    assert better["low"] > 0
    (same,) = paired_differences(first, first.copy(), seed=1)
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0, 0, 0, 1)


def simulate(draw, n: int, times: int, groups=None) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """Give the share of intervals that hold the true difference, and of tests under 0.05.

    A column is a simulation of its own: they share the draws, which leaves each as it would be alone.
    """
    rng = np.random.default_rng(11)
    held = told = 0
    for _ in range(times // 100):
        truth, first, second = draw(rng, n)
        for found in paired_differences(first, second, seed=int(rng.integers(1 << 30)), groups=groups):
            held += found["low"] <= truth <= found["high"]
            told += found["p"] < 0.05
    return held / times, told / times


def normal(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    hardness = rng.normal(0, 1, (n, 100))
    return 0.3, hardness + rng.normal(0, 1, (n, 100)), hardness + 0.3 + rng.normal(0, 1, (n, 100))


def right_or_wrong(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    luck = rng.random((n, 100))  # shared by both arms in half of the questions
    other = np.where(rng.random((n, 100)) < 0.5, luck, rng.random((n, 100)))
    return 0.2, (luck < 0.4).astype(float), (other < 0.6).astype(float)


def like_f1(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
    """Many zeros and ones, something between: means 0.3 and 0.55."""

    def scores(mean: float) -> np.ndarray:
        whole = rng.random((n, 100)) < 0.7
        return np.where(whole, rng.random((n, 100)) < mean, rng.beta(2 * mean, 2 * (1 - mean), (n, 100)))

    return 0.25, scores(0.3), scores(0.55)


@pytest.mark.parametrize(("draw", "n"), [(normal, 30), (right_or_wrong, 100), (like_f1, 60), (like_f1, 200)])
def test_95_percent_intervals_hold_the_truth_95_times_in_100(draw, n: int) -> None:  # type: ignore[no-untyped-def]
    held, _ = simulate(draw, n, 2000)
    assert 0.93 <= held <= 0.97


def test_identical_arms_are_told_apart_at_most_5_times_in_100() -> None:
    def same(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
        _, first, _ = like_f1(rng, n)
        _, second, _ = like_f1(rng, n)
        return 0.0, first, second

    held, told = simulate(same, 60, 4000)
    assert told <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 4000)
    assert 0.93 <= held <= 0.97


def test_questions_about_one_document_are_no_independent_evidence() -> None:
    """Forty documents with five questions each that go well or badly together."""
    groups = [question // 5 for question in range(200)]

    def clustered(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
        together = np.repeat(rng.normal(0, 1, (n // 5, 100)), 5, axis=0)
        return 0.0, np.zeros((n, 100)), together + rng.normal(0, 0.3, (n, 100))

    held, told = simulate(clustered, 200, 1000, groups)
    assert 0.93 <= held <= 0.97
    assert told <= 0.065
    alone, _ = simulate(clustered, 200, 500)
    assert alone < 0.8, "without groups the intervals are far too narrow"


def test_missing_values_do_not_narrow_the_interval() -> None:
    def holed(rng: np.random.Generator, n: int):  # type: ignore[no-untyped-def]
        truth, first, second = like_f1(rng, n)
        first[rng.random(first.shape) < 0.46] = NAN
        return truth, first, second

    held, _ = simulate(holed, 100, 1000)
    assert 0.93 <= held <= 0.97


def test_draws_are_made_in_pieces_that_fit_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((30, 1))
    whole = mean_intervals(values, seed=1)
    monkeypatch.setattr(module, "_CELLS", 3000)
    pieces = mean_intervals(values, seed=1)
    assert pieces[0]["low"] == pytest.approx(whole[0]["low"], abs=1e-5)
