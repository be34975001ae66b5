"""Records with several oracles: all of them or none, and records with one stay as they were."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings, strategies as st

from tests.conftest import corpus, make_chunk, verified
from tests.generate.test_assemble import records as one_oracle_records
from tests.rag.test_focus import focus as make_focus
from tools.raft.choices import Negatives, NoOracle, Order
from tools.raft.dataset.splits import assign_splits, join_chunks
from tools.raft.dataset.validate_records import Report, Sample, validate_positions, validate_record
from tools.raft.errors import UserError
from tools.raft.files import json_line
from tools.raft.generate.assemble import RowOptions, assemble_records
from tools.raft.generate.distractors import Distractors
from tools.raft.generate.verify import verify_answer
from tools.raft.raft_format import FormatError
from tools.raft.rag.focus import Focus
from tools.raft.rag.search import Retriever
from tools.raft.records import Chunk, Draft, Record, fields_of
from tools.raft.text.normalise import normalise

CHUNKS = corpus(60)
CHUNKS += [make_chunk(CHUNKS[3]["text"], source="copy.txt")]  # the text of a chunk, in another document


def needs(chunks: Sequence[Chunk], number: int = 0) -> Draft:
    """Build a verified draft whose question needs all of some chunks."""
    sentences = [chunk["text"].split(". ")[1] for chunk in chunks]
    animals = " and ".join(
        f"{words[4]} at {words[1]}" for words in (chunk["text"].split() for chunk in chunks)
    )
    first = sentences[0].split()[6]
    draft = verified(f"How many {animals} were seen, question {number}?", chunks[0], sentences[0], first)
    quotes = " ".join(f"##begin_quote##{sentence}##end_quote##" for sentence in sentences)
    draft["cot_answer"] = f"They say {quotes}\n<ANSWER>: {first}"
    draft["other_chunk_ids"] = [chunk["id"] for chunk in chunks[1:]]
    return draft


def records(
    k: int,
    p: float,
    seed: int,
    *,
    oracles: int = 2,
    negatives: Negatives = "lexical",
    no_oracle: NoOracle = "keep",
    order: Order = "shuffled",
    chunks: Sequence[Chunk] = CHUNKS,
    round: int = 0,
    focus: Focus | None = None,
) -> list[Record]:
    """Assemble records of groups of chunks, each within one split."""
    ids, smallest = [chunk["id"] for chunk in chunks], (k + 1) * (round + 1) + oracles
    splits, _ = assign_splits(ids, seed=seed, smallest=smallest)
    splits, _ = join_chunks(splits, [[CHUNKS[3]["id"], CHUNKS[-1]["id"]]], ids, smallest=smallest)
    pool = Distractors(chunks, splits, negatives)
    options = RowOptions(k, p, seed, no_oracle, order, focus)
    rows = []
    for split in ("train", "valid", "test"):
        own = [chunk for chunk in chunks if splits[chunk["id"]] == split and chunk["source"] != "copy.txt"]
        for start in range(0, len(own) - oracles + 1, oracles):
            group = own[start : start + oracles]
            drafts = [needs(group, number) for number in range(2)]
            others = [group[1:]] * len(drafts)
            drawn = pool.draw(drafts, group[0], k=k, seed=seed, round=round, others=others)
            rows += assemble_records(
                drafts, group[0], drawn, options, split=split, others=others, round=round
            )
    return rows


def validate(rows: Sequence[Record]) -> list[str]:
    """Return the errors that validation finds in rows."""
    report, samples = Report(), {row["split"]: Sample() for row in rows}
    for line, row in enumerate(rows, start=1):
        if validate_record(row, row["split"], f"{row['split']}.jsonl", line, report):
            samples[row["split"]].add(row)
    for split, sample in samples.items():
        validate_positions(sample, f"{split}.jsonl", report, "ranked")
    return [message for severity, _, _, message in report.close() if severity == "error"]


@settings(max_examples=20, deadline=None)
@given(
    oracles=st.integers(2, 3),
    more=st.integers(0, 5),
    p=st.sampled_from([0.0, 0.5, 0.8, 1.0]),
    seed=st.integers(0, 2**31),
    negatives=st.sampled_from(["lexical", "random"]),
    no_oracle=st.sampled_from(["keep", "refuse"]),
    order=st.sampled_from(["shuffled", "ranked"]),
    round=st.integers(0, 1),
)
def test_record_invariants(
    oracles: int, more: int, p: float, seed: int, negatives: Negatives, no_oracle: NoOracle, order: Order,
    round: int,
) -> None:  # fmt: skip
    k = oracles - 1 + more
    rows = records(
        k, p, seed, oracles=oracles, negatives=negatives, no_oracle=no_oracle, order=order, round=round
    )
    texts = {chunk["id"]: chunk["text"] for chunk in CHUNKS}
    assert rows and validate(rows) == []
    for row in rows:
        documents = row["context"]["sentences"][0]
        own = [texts[id] for id in row["oracle_ids"]]
        assert len(documents) == len({normalise(text) for text in documents}) == k + 1
        assert row["oracle_ids"][0] == row["chunk_id"] and len(row["oracle_ids"]) == oracles
        assert row["oracle_context"] == "\n\n".join(own)
        assert [text in documents for text in own] == [row["has_oracle"]] * oracles, "all of them or none"
        if row["has_oracle"]:
            assert [documents[i] for i in row["oracle_indices"] or ()] == own
            assert row["oracle_index"] == (row["oracle_indices"] or [None])[0]
        else:
            assert row["oracle_indices"] is None and row["oracle_index"] is None
        assert len(row["distractor_ids"]) == k + 1 - oracles * row["has_oracle"]
        assert not set(row["oracle_ids"]) & set(row["distractor_ids"])
        assert not {normalise(texts[id]) for id in row["distractor_ids"]} & {*map(normalise, own)}
        assert list(row) == list(fields_of(several=True)), "the optional fields come last"
        if row["has_oracle"] or no_oracle == "keep":
            assert all(any(quote in text for text in own) for quote in _quotes(row))


def _quotes(row: Record) -> list[str]:
    return [part.split("##end_quote##")[0] for part in row["cot_answer"].split("##begin_quote##")[1:]]


def test_oracles_are_present_with_probability_p_at_uniform_positions() -> None:
    rows = [row for seed in range(60) for row in records(3, 0.8, seed)[::2]]
    with_oracle = [row for row in rows if row["has_oracle"]]
    assert abs(len(with_oracle) - 0.8 * len(rows)) < 4 * (len(rows) * 0.16) ** 0.5
    places = [tuple(row["oracle_indices"] or ()) for row in with_oracle]
    expected = len(places) / 12  # ordered pairs of 4 positions
    pairs = [(i, j) for i in range(4) for j in range(4) if i != j]
    chi_squared = sum((places.count(pair) - expected) ** 2 / expected for pair in pairs)
    assert chi_squared < 31.26, "11 degrees of freedom, p < 0.001"


def test_ranked_oracles_are_where_the_retriever_ranks_them() -> None:
    rows = records(4, 1.0, 3, order="ranked")
    assert len({tuple(row["oracle_indices"] or ()) for row in rows}) > 2, "not always found first"
    splits, _ = assign_splits([chunk["id"] for chunk in CHUNKS], seed=3, smallest=7)
    for row in rows:
        pool = [chunk for chunk in CHUNKS if splits[chunk["id"]] == row["split"]]
        (ranking,) = Retriever(pool).search([row["question"]], len(pool))
        ranks = {pool[position]["text"]: rank for rank, position in reversed([*enumerate(ranking)])}
        found = [ranks[text] for text in row["context"]["sentences"][0] if text in ranks]
        assert found == sorted(found), "documents are in the retriever's order"


def test_a_split_without_other_chunks_keeps_its_oracles() -> None:
    few = CHUNKS[:4]
    pool = Distractors(few, {chunk["id"]: "train" for chunk in few}, "random")
    drafts, others = [needs(few[:2])], [few[1:2]]
    drawn = pool.draw(drafts, few[0], k=3, seed=1, others=others)
    (row,) = assemble_records(drafts, few[0], drawn, RowOptions(3, 0.0, 1), split="train", others=others)
    assert row["has_oracle"] and len(row["distractor_ids"]) == 2 and validate([row]) == []
    with pytest.raises(UserError, match="4 chunks are too few for 4 distractors"):
        pool.draw(drafts, few[0], k=4, seed=1, others=others)


def test_more_oracles_than_documents_are_refused() -> None:
    pool = Distractors(CHUNKS, {chunk["id"]: "train" for chunk in CHUNKS}, "random")
    drafts, others = [needs(CHUNKS[:2])], [CHUNKS[1:2]]
    drawn = pool.draw(drafts, CHUNKS[0], k=0, seed=1, others=others)
    with pytest.raises(UserError, match="2 oracles do not fit into 1 documents: raise --distractors to 1"):
        assemble_records(drafts, CHUNKS[0], drawn, RowOptions(0, 1.0, 1), split="train", others=others)


def test_a_chunk_with_the_answer_is_no_distractor_while_others_are_left() -> None:
    pool = Distractors(CHUNKS, {chunk["id"]: "train" for chunk in CHUNKS}, "lexical")
    draft = needs([CHUNKS[0], CHUNKS[7]])
    draft["final_answer"] = "near bridge 14"
    (drawn,) = pool.draw([draft], CHUNKS[0], k=5, seed=1, others=[[CHUNKS[7]]])
    assert CHUNKS[14] not in drawn.chunks and CHUNKS[7] not in drawn.chunks


def test_records_with_one_oracle_are_byte_for_byte_what_they_were() -> None:
    digest = hashlib.sha256()
    for negatives in ("lexical", "random"):
        for order in ("shuffled", "ranked"):
            for no_oracle in ("keep", "refuse"):
                for k in (0, 3):
                    for record in one_oracle_records(k, 0.5, 7, negatives, no_oracle, order):
                        digest.update(json_line(record).encode())
    # Computed with the code from before there were records with several oracles.
    assert digest.hexdigest() == "2716cf9eb404e03b318bd1a43a358eb22560e63e71f69618ad0004c0206322fa"


def test_a_draw_for_one_oracle_does_not_depend_on_others_in_its_batch() -> None:
    pool = Distractors(CHUNKS, {chunk["id"]: "train" for chunk in CHUNKS}, "lexical")
    single = verified("How many otters are at station 0?", CHUNKS[0], "x", "11")
    alone = pool.draw([single], CHUNKS[0], k=3, seed=5)
    pair = needs([CHUNKS[0], CHUNKS[1]])
    together = pool.draw([single, pair], CHUNKS[0], k=3, seed=5, others=[[], [CHUNKS[1]]])
    assert together[0] == alone[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row.update(oracle_indices=row["oracle_indices"][::-1]), "not where oracle_indices say"),
        (lambda row: row.update(oracle_indices=row["oracle_indices"][:1]), "not where oracle_indices say"),
        (lambda row: row.update(oracle_indices=None), "not where oracle_indices say"),
        (lambda row: row.update(oracle_indices=[0, 9]), "not where oracle_indices say"),
        (lambda row: row.update(oracle_index=row["oracle_indices"][1]), "not the first of oracle_indices"),
        (lambda row: row.update(has_oracle=False, oracle_index=None, oracle_indices=None), "an oracle is among"),
        (lambda row: row["distractor_ids"].append(row["oracle_ids"][1]), "the oracle is among its own distractors"),
        (lambda row: row["distractor_ids"].append("f" * 16), "documents and distractor_ids do not match"),
        (lambda row: row.update(oracle_ids=row["oracle_ids"][:1]), "oracle_ids are not several ids"),
        (lambda row: row.update(oracle_ids=row["oracle_ids"][::-1]), "that of chunk_id first"),
        (lambda row: row.update(oracle_indices=["0", "1"]), "field oracle_indices does not hold items of type int"),
        (lambda row: row.pop("oracle_ids"), "field oracle_ids is missing"),
        (lambda row: row.pop("oracle_indices"), "field oracle_indices is missing"),
    ],
)  # fmt: skip
def test_validation_finds_what_is_wrong_with_several_oracles(change, message: str) -> None:
    rows = records(3, 1.0, 1)
    row = copy.deepcopy(rows[0])
    change(row)
    assert any(message in error for error in validate([row])), validate([row])


def test_validation_finds_an_oracle_in_another_split() -> None:
    rows = [row for row in records(3, 0.0, 1) if row["split"] == "train"][:2]
    rows[1] = {**rows[1], "id": "other", "split": "valid", "question": "How many then?"}
    rows[1]["instruction"] = rows[1]["instruction"].replace(rows[0]["question"], "") + rows[1]["question"]
    errors = validate(rows)
    assert any(error.startswith(f"chunk of two splits: {rows[0]['oracle_ids'][1]}") for error in errors)


def test_validation_finds_rows_longer_than_those_with_one_oracle() -> None:
    one = next(row for row in one_oracle_records(2, 1.0, 1) if row["split"] == "train")
    several = next(row for row in records(3, 1.0, 1) if row["split"] == "train")
    errors = [error for error in validate([one, several]) if "rows with several oracles have up to" in error]
    assert errors == ["rows with several oracles have up to 4 documents, those with one up to 3"]


FIRST = make_chunk("The Aru rises at Mount Tarn. It is 90 km long.", source="aru.txt")
SECOND = make_chunk("Mount Tarn is 2,340 m high. It is 90 km long.", source="tarn.txt")


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("##begin_quote##The Aru rises at Mount Tarn.##end_quote## and ##begin_quote##Mount Tarn is 2,340 m "
         "high.##end_quote##\n<ANSWER>: 2,340 m", ""),
        ("##begin_quote##The Aru rises at Mount Tarn.##end_quote##\n<ANSWER>: x", FormatError.UNQUOTED_ORACLE),
        ("##begin_quote##The Aru rises at Mount Tarn.##end_quote## ##begin_quote##It is 90 km long.##end_quote##\n"
         "<ANSWER>: x", FormatError.UNQUOTED_ORACLE),
        ("##begin_quote##The Aru rises at Mount Tarn.##end_quote## ##begin_quote##Mount Tarn is high.##end_quote##\n"
         "<ANSWER>: x", FormatError.NOT_VERBATIM),
        ("<ANSWER>: x", FormatError.NO_QUOTE),
        ("<ANSWER>: UNANSWERABLE", "not answered by its chunks"),
    ],
)  # fmt: skip
def test_an_answer_quotes_each_of_its_oracles(reply: str, reason: str) -> None:
    result = verify_answer(reply, "stop", FIRST, others=[SECOND])
    assert ("" if not isinstance(result, str) else result) == reason


def test_focus_keeps_the_quoted_sentences_of_all_oracles() -> None:
    rows = records(3, 1.0, 1, focus=make_focus(share=0.01))
    for row in rows:
        shown = row["instruction"]
        assert all(quote in shown for quote in _quotes(row))
        assert len(shown) < sum(map(len, row["context"]["sentences"][0]))
    assert validate(rows) == []


@settings(max_examples=60, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), count=st.integers(12, 80))
def test_chunks_that_questions_need_together_are_in_one_split(data, seed: int, count: int) -> None:
    ids = [f"{number:016x}" for number in range(count)]
    splits, _ = assign_splits(ids, seed=seed, smallest=5)
    group = st.lists(st.sampled_from(ids), min_size=2, max_size=4, unique=True)
    groups = data.draw(st.lists(group, max_size=8))
    joined, notes = join_chunks(splits, groups, ids, smallest=5)
    for own in groups:
        assert len({joined[id] for id in own}) == 1
    named = {id for own in groups for id in own}
    given_up = {split for split in ("valid", "test") if any(f"no {split} split" in note for note in notes)}
    for id in set(ids) - named:
        assert joined[id] == ("train" if splits[id] in given_up else splits[id]), "every other chunk stays"
    assert all(sum(joined[id] == split for id in ids) >= 5 or split in given_up
               for split in {joined[id] for id in ids} - {"train"})  # fmt: skip
    again, _ = join_chunks(splits, groups[::-1], ids[::-1], smallest=5)
    assert [again[id] for id in ids] == [joined[id] for id in ids], "the order does not matter"
