"""The invariants of a RAFT record, whatever the corpus, the seed and the numbers."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from tests.conftest import corpus, verified
from tools.raft.dataset.splits import assign_splits
from tools.raft.errors import UserError
from tools.raft.generate.assemble import assemble_record
from tools.raft.generate.distractors import Distractors, Negatives
from tools.raft.records import Record

CHUNKS = corpus(60)


def records(
    k: int, p: float, seed: int, negatives: Negatives = "lexical", no_oracle: str = "keep"
) -> list[Record]:
    splits, _ = assign_splits([chunk["id"] for chunk in CHUNKS], seed=seed, smallest=k + 2)
    distractors = Distractors(CHUNKS, splits, negatives)
    rows = []
    for chunk in CHUNKS:
        quote = chunk["text"].split(". ")[1]
        drafts = [
            verified(f"How many, question {n} of {chunk['id']}?", chunk, quote, quote.split()[6])
            for n in range(3)
        ]
        for draft, drawn in zip(drafts, distractors.draw(drafts, chunk, k=k, seed=seed), strict=True):
            split = distractors.split_of(chunk)
            rows.append(
                assemble_record(draft, chunk, drawn, p=p, seed=seed, split=split, no_oracle=no_oracle)
            )  # type: ignore[arg-type]
    return rows


@settings(max_examples=25, deadline=None)
@given(
    k=st.integers(0, 8),
    p=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    seed=st.integers(0, 2**31),
    negatives=st.sampled_from(["lexical", "random"]),
)
def test_record_invariants(k: int, p: float, seed: int, negatives: Negatives) -> None:
    seen: dict[str, str] = {}
    for row in records(k, p, seed, negatives):
        documents = row["context"]["sentences"][0]
        assert len(documents) == len(set(documents)) == k + 1, "k + 1 different documents"
        assert len(row["context"]["title"][0]) == k + 1
        assert row["has_oracle"] == (row["oracle_context"] in documents), (
            "the oracle is there exactly when said"
        )
        if row["has_oracle"]:
            assert row["oracle_index"] is not None
            assert documents[row["oracle_index"]] == row["oracle_context"], "and exactly where said"
        else:
            assert row["oracle_index"] is None
        assert row["chunk_id"] not in row["distractor_ids"]
        assert len(row["distractor_ids"]) == k + (not row["has_oracle"])
        for quote in row["cot_answer"].split("##begin_quote##")[1:]:
            assert quote.split("##end_quote##")[0] in row["oracle_context"]
        assert row["instruction"].endswith(row["question"])
        assert row["instruction"].count("<DOCUMENT>") == row["instruction"].count("</DOCUMENT>") == k + 1
        for chunk_id in (row["chunk_id"], *row["distractor_ids"]):
            assert seen.setdefault(chunk_id, row["split"]) == row["split"], "no chunk in two splits"


def test_the_share_p_and_the_place_are_as_said() -> None:
    rows = [row for seed in range(20) for row in records(3, 0.8, seed)]
    with_oracle = [row for row in rows if row["has_oracle"]]
    spread = math.sqrt(len(rows) * 0.8 * 0.2)
    assert abs(len(with_oracle) - 0.8 * len(rows)) < 4 * spread
    places = Counter(row["oracle_index"] for row in with_oracle)
    expected = len(with_oracle) / 4
    chi_squared = sum((places[place] - expected) ** 2 / expected for place in range(4))
    assert chi_squared < 16.27, (
        f"places {places} are not uniform (chi squared, 3 degrees of freedom, p < 0.001)"
    )


def test_the_label_stays_the_oracles_when_it_is_dropped() -> None:
    for row in records(3, 0.0, 1):
        assert not row["has_oracle"]
        assert row["final_answer"] in row["oracle_context"], "the answer is the oracle's, not another chunk's"


def test_a_dropped_oracle_can_become_a_refusal() -> None:
    rows = records(3, 0.5, 1, no_oracle="refuse")
    refused = [row for row in rows if not row["has_oracle"]]
    assert 0 < len(refused) < len(rows)
    assert {row["cot_answer"] for row in refused} == {refused[0]["cot_answer"]}
    assert "##begin_quote##" not in refused[0]["cot_answer"]
    assert all("##begin_quote##" in row["cot_answer"] for row in rows if row["has_oracle"])


def test_hard_negatives_are_what_the_retriever_finds_less_those_that_hold_the_answer() -> None:
    splits = {chunk["id"]: "train" for chunk in CHUNKS}
    distractors = Distractors(CHUNKS, splits, "lexical")  # type: ignore[arg-type]
    oracle = CHUNKS[0]  # counts the otter, as every seventh station does
    draft = verified("How many of the otter did the station see near the bridge?", oracle, "x", "14")
    drawn = distractors.draw([draft], oracle, k=3, seed=1)[0]
    assert all("otter" in chunk["text"] for chunk in drawn), "near neighbours, not any chunk"
    held = CHUNKS[7]["text"]
    draft = verified(
        "How many of the otter did the station see near the bridge?", oracle, "x", "near bridge 7"
    )
    drawn = distractors.draw([draft], oracle, k=3, seed=1)[0]
    assert held not in [chunk["text"] for chunk in drawn]


def test_too_small_a_corpus_is_one_clear_line() -> None:
    few = CHUNKS[:3]
    distractors = Distractors(few, {chunk["id"]: "train" for chunk in few}, "random")
    with pytest.raises(UserError, match="3 chunks are too few for 5 distractors"):
        distractors.draw([verified("How?", few[0], "x", "y")], few[0], k=5, seed=1)


def test_ids_come_from_content() -> None:
    first, second = records(3, 0.8, 1), records(3, 0.8, 1)
    assert first == second
    assert len({row["id"] for row in first}) == len(first)
    assert [row["id"] for row in first] == [row["id"] for row in records(3, 0.2, 2)], (
        "an id names a row, not a draw"
    )
