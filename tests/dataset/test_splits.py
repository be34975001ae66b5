"""Splits are made by chunk, deterministic, and never too small for the distractors of a row."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from tools.raft.dataset.splits import Splits, assign_splits
from tools.raft.errors import UserError
from tools.raft.records import Split


def ids(count: int) -> list[str]:
    return [f"{number:016x}" for number in range(count)]


def assigned(chunk_ids: list[str], splits: Splits) -> dict[str, Split]:
    return {chunk_id: splits[chunk_id] for chunk_id in chunk_ids}


def sizes(count: int, distractors: int, **shares: float) -> tuple[int, int, int]:
    splits, _ = assign_splits(ids(count), seed=42, smallest=distractors + 2, **shares)
    found = Counter(assigned(ids(count), splits).values())
    return found["train"], found["valid"], found["test"]


@given(
    count=st.integers(1, 300),
    distractors=st.integers(0, 10),
    valid=st.floats(0, 0.5),
    test=st.floats(0, 0.5),
    seed=st.integers(0, 10_000),
)
def test_every_split_is_empty_or_has_enough_chunks_for_a_row(
    count: int, distractors: int, valid: float, test: float, seed: int
) -> None:
    smallest = distractors + 2
    if count < smallest - 1:
        with pytest.raises(UserError, match=f"{count} chunks are too few"):
            assign_splits(ids(count), seed=seed, valid=valid, test=test, smallest=smallest)
        return
    splits, notes = assign_splits(ids(count), seed=seed, valid=valid, test=test, smallest=smallest)
    found = Counter(assigned(ids(count), splits).values())
    for split, share in (("train", 1 - valid - test), ("valid", valid), ("test", test)):
        assert found[split] == 0 or found[split] >= smallest or found[split] == count == smallest - 1
        if split != "train" and found[split] != int(count * share + 0.5):
            assert any(split in note for note in notes), "a deviation from the share is noted"
        if split != "train" and not share:
            assert found[split] == 0


@given(order=st.permutations(ids(40)), seed=st.integers(0, 99))
def test_the_order_of_the_chunks_does_not_matter(order: list[str], seed: int) -> None:
    assert assign_splits(order, seed=seed, smallest=4) == assign_splits(ids(40), seed=seed, smallest=4)


def test_different_seeds_draw_different_chunks() -> None:
    drawn = {
        tuple(
            id
            for id, split in assigned(ids(100), assign_splits(ids(100), seed=seed, smallest=5)[0]).items()
            if split == "test"
        )
        for seed in range(5)
    }
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("count", "distractors", "expected"),
    [
        (10, 0, (6, 2, 2)),
        (10, 3, (5, 0, 5)),  # a second split would leave too few chunks to train on
        (10, 4, (10, 0, 0)),
        (20, 3, (10, 5, 5)),
        (20, 10, (20, 0, 0)),
        (64, 3, (52, 6, 6)),
        (64, 10, (40, 12, 12)),
        (10_000, 3, (8000, 1000, 1000)),
        (10_000, 10, (8000, 1000, 1000)),
    ],
)
def test_split_sizes_at_ten_per_cent(count: int, distractors: int, expected: tuple[int, int, int]) -> None:
    assert sizes(count, distractors) == expected


def test_shares_of_zero_and_large_shares_are_kept() -> None:
    assert sizes(30, 3, valid=0.0, test=1.0) == (0, 0, 30)
    assert sizes(30, 3, valid=0.0, test=0.0) == (30, 0, 0)
    assert sizes(30, 3, valid=0.0, test=0.8) == (6, 0, 24)


def test_a_corpus_too_small_to_split_is_noted() -> None:
    splits, notes = assign_splits(ids(8), seed=1, smallest=5)
    assert set(assigned(ids(8), splits).values()) == {"train"}
    assert len(notes) == 2
    assert "no test split" in notes[0] and "no valid split" in notes[1]


@pytest.mark.parametrize(("valid", "test"), [(-0.1, 0.1), (0.1, 1.5), (0.6, 0.6), (float("nan"), 0.1)])
def test_rejects_invalid_shares(valid: float, test: float) -> None:
    with pytest.raises(UserError):
        assign_splits(ids(100), seed=1, valid=valid, test=test, smallest=5)
