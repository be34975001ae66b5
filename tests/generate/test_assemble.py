"""The invariants of a RAFT record, for any corpus, seed and settings."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from tests.conftest import corpus, verified
from tools.raft.choices import Negatives
from tools.raft.dataset.splits import assign_splits
from tools.raft.errors import UserError
from tools.raft.generate.assemble import RowOptions, assemble_records
from tools.raft.generate.distractors import Distractors
from tools.raft.rag.search import Retriever
from tools.raft.records import Record

CHUNKS = corpus(60)


def records(
    k: int,
    p: float,
    seed: int,
    negatives: Negatives = "lexical",
    no_oracle: str = "keep",
    order: str = "shuffled",
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
        drawn = distractors.draw(drafts, chunk, k=k, seed=seed)
        options = RowOptions(k, p, seed, no_oracle, order)  # type: ignore[arg-type]
        rows += assemble_records(drafts, chunk, drawn, options, split=distractors.split_of(chunk))
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
            "the oracle is present exactly if has_oracle"
        )
        if row["has_oracle"]:
            assert row["oracle_index"] is not None
            assert documents[row["oracle_index"]] == row["oracle_context"], "and at oracle_index"
        else:
            assert row["oracle_index"] is None
        assert row["chunk_id"] not in row["distractor_ids"]
        assert len(row["distractor_ids"]) == k + (not row["has_oracle"])
        for quote in row["cot_answer"].split("##begin_quote##")[1:]:
            assert quote.split("##end_quote##")[0] in row["oracle_context"]
        assert row["instruction"].endswith(row["question"])
        assert row["instruction"].count("<DOCUMENT>") == row["instruction"].count("</DOCUMENT>") == k + 1
        for chunk_id in (row["chunk_id"], *row["distractor_ids"]):
            assert seen.setdefault(chunk_id, row["split"]) == row["split"], "no chunk is in two splits"


def test_oracles_are_present_with_probability_p_at_uniform_positions() -> None:
    rows = [row for seed in range(20) for row in records(3, 0.8, seed)]
    with_oracle = [row for row in rows if row["has_oracle"]]
    deviation = math.sqrt(len(rows) * 0.8 * 0.2)
    assert abs(len(with_oracle) - 0.8 * len(rows)) < 4 * deviation
    positions = Counter(row["oracle_index"] for row in with_oracle)
    expected = len(with_oracle) / 4
    chi_squared = sum((positions[position] - expected) ** 2 / expected for position in range(4))
    assert chi_squared < 16.27, (
        f"positions {positions} are not uniform (chi squared, 3 degrees of freedom, p < 0.001)"
    )


def test_ranked_documents_are_in_the_order_of_the_retriever() -> None:
    rows = records(3, 1.0, 1, order="ranked")
    shuffled = {row["id"]: row for row in records(3, 1.0, 1)}
    assert len({row["oracle_index"] for row in rows}) > 1, "the oracle is not always found first"
    for row in rows:
        assert set(row["distractor_ids"]) == set(shuffled[row["id"]]["distractor_ids"])
        others = [chunk for chunk in CHUNKS if chunk["id"] in {*row["distractor_ids"], row["chunk_id"]}]
        (ranking,) = Retriever(others).search([row["question"]], 4)
        found = [others[position]["id"] for position in ranking]
        documents = row["context"]["sentences"][0]
        assert documents[row["oracle_index"] or 0] == row["oracle_context"]
        assert len(found) == 4


def test_one_distractor_can_be_from_the_oracles_own_document() -> None:
    chunks = [{**chunk, "source": f"{number // 20}.txt"} for number, chunk in enumerate(corpus(60))]
    splits = {chunk["id"]: "train" for chunk in chunks}
    draft = verified("How many of the otter did the station see near the bridge?", chunks[0], "x", "14")  # type: ignore[arg-type]
    for negatives in ("random", "lexical"):
        pool = Distractors(chunks, splits, negatives, same_source=True)  # type: ignore[arg-type]
        for seed in range(10):
            (drawn,) = pool.draw([draft], chunks[0], k=2, seed=seed)  # type: ignore[arg-type]
            assert "0.txt" in [chunk["source"] for chunk in drawn.chunks[:2]]
            assert chunks[0] not in drawn.chunks and len({chunk["id"] for chunk in drawn.chunks}) == 3


def test_the_label_is_the_oracles_answer_even_if_the_oracle_is_left_out() -> None:
    for row in records(3, 0.0, 1):
        assert not row["has_oracle"]
        assert row["final_answer"] in row["oracle_context"], "the answer is the oracle's, not another chunk's"


def test_a_row_without_oracle_can_have_a_refusal_as_label() -> None:
    rows = records(3, 0.5, 1, no_oracle="refuse")
    refused = [row for row in rows if not row["has_oracle"]]
    assert 0 < len(refused) < len(rows)
    assert {row["cot_answer"] for row in refused} == {refused[0]["cot_answer"]}
    assert "##begin_quote##" not in refused[0]["cot_answer"]
    assert all("##begin_quote##" in row["cot_answer"] for row in rows if row["has_oracle"])


def test_hard_negatives_are_retrieved_chunks_that_do_not_hold_the_answer() -> None:
    splits = {chunk["id"]: "train" for chunk in CHUNKS}
    distractors = Distractors(CHUNKS, splits, "lexical")  # type: ignore[arg-type]
    oracle = CHUNKS[0]  # about otters, like every seventh chunk
    draft = verified("How many of the otter did the station see near the bridge?", oracle, "x", "14")
    drawn = distractors.draw([draft], oracle, k=3, seed=1)[0].chunks
    assert all("otter" in chunk["text"] for chunk in drawn), "similar chunks, not arbitrary ones"
    holding = CHUNKS[7]["text"]
    draft = verified(
        "How many of the otter did the station see near the bridge?", oracle, "x", "near bridge 7"
    )
    drawn = distractors.draw([draft], oracle, k=3, seed=1)[0].chunks
    assert holding not in [chunk["text"] for chunk in drawn]


def test_rejects_a_corpus_that_is_too_small() -> None:
    few = CHUNKS[:3]
    distractors = Distractors(few, {chunk["id"]: "train" for chunk in few}, "random")
    with pytest.raises(UserError, match="3 chunks are too few for 5 distractors"):
        distractors.draw([verified("How?", few[0], "x", "y")], few[0], k=5, seed=1)


def test_ids_depend_on_content_only() -> None:
    first, second = records(3, 0.8, 1), records(3, 0.8, 1)
    assert first == second
    assert len({row["id"] for row in first}) == len(first)
    assert [row["id"] for row in first] == [row["id"] for row in records(3, 0.2, 2)], (
        "an id identifies a row, not a draw"
    )
