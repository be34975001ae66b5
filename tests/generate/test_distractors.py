"""Distractors are never the oracle, and hold the answer only if no others are left, in any script."""

from __future__ import annotations

import pytest

from tests.conftest import make_chunk
from tests.evaluate.test_arms import HOLDING
from tools.raft.choices import Negatives
from tools.raft.generate.distractors import Distractors
from tools.raft.generate.given_questions import GivenQuestion, Locator
from tools.raft.records import Chunk, Split, new_draft


@pytest.mark.parametrize("negatives", ["lexical", "random"])
@pytest.mark.parametrize(("answer", "holding", "other"), HOLDING)
def test_a_chunk_that_holds_the_answer_is_drawn_last_in_any_script(
    answer: str, holding: str, other: str, negatives: Negatives
) -> None:
    chunks = [
        make_chunk(text, source=f"{i}.txt") for i, text in enumerate(("oracle", holding, other, "more"))
    ]
    pool = Distractors(chunks, {chunk["id"]: "train" for chunk in chunks}, negatives)
    draft = new_draft("?", chunks[0]["id"])
    draft["final_answer"] = answer
    for seed in range(8):
        (drawn,) = pool.draw([draft], chunks[0], k=1, seed=seed)
        assert sorted(chunk["text"] for chunk in drawn.chunks) == sorted([other, "more"])
        (everything,) = pool.draw([draft], chunks[0], k=2, seed=seed)
        assert everything.chunks[-1]["text"] == holding, "only if no others are left"


def api_entry(model: str, use: str, options: str = "") -> Chunk:
    text = (
        f"Name: {use}\nCall: torch.hub.load('owner/nets', '{model}'{options})\nDescription: It sorts {use}."
    )
    return make_chunk(text, source=f"{model}-{use}.txt", kind="api")


@pytest.mark.parametrize("same_source", [False, True])
@pytest.mark.parametrize("negatives", ["lexical", "random"])
def test_an_entry_for_the_same_api_is_no_distractor(negatives: Negatives, same_source: bool) -> None:
    uses = ("photos", "letters", "songs", "birds", "leaves", "stamps", "coins", "clouds", "shells", "maps")
    same = [api_entry("net18", use, f", pretrained={use!r}") for use in uses]
    others = [api_entry(f"net{number}", "boats") for number in (34, 50, 101)]
    chunks = [*same, *others, make_chunk("A text that calls torch.hub.load('owner/nets', 'net18').")]
    for chunk in chunks:
        chunk["source"] = "nets.jsonl"
    splits: dict[str, Split] = {chunk["id"]: "train" for chunk in chunks}
    pool = Distractors(chunks, splits, negatives, same_source=same_source)
    draft = new_draft("Which call sorts photos and letters?", same[0]["id"])
    draft["final_answer"] = "torch.hub.load('owner/nets', 'net18', verbose=False)"
    for seed in range(8):
        (drawn,) = pool.draw([draft], same[0], k=2, seed=seed)
        ids = {chunk["id"] for chunk in drawn.chunks}
        assert not ids & {chunk["id"] for chunk in same}
        (everything,) = pool.draw([draft], same[0], k=4, seed=seed)
        assert len({chunk["id"] for chunk in everything.chunks}) == 5, "only if no others are left"


@pytest.mark.parametrize(("answer", "holding", "other"), HOLDING)
def test_the_chunk_that_holds_a_given_answer_is_tried_first(answer: str, holding: str, other: str) -> None:
    chunks = [make_chunk(text, source=f"{i}.txt") for i, text in enumerate((other, holding))]
    row: GivenQuestion = {
        "question": other, "answers": ["none", answer], "answerable": True, "relevant": [], "chunk_id": "",
    }  # fmt: skip
    assert Locator(chunks).candidates(row)[0]["text"] == holding


def test_a_source_is_found_however_its_accents_are_stored() -> None:
    chunks = [make_chunk("Otters swim in the river.", source="Mühle.txt")]
    row: GivenQuestion = {
        "question": "Where do otters swim?",
        "answers": [],
        "answerable": True,
        "relevant": ["Mu\u0308hle.txt"],
        "chunk_id": "",
    }
    assert Locator(chunks).candidates(row) == chunks
