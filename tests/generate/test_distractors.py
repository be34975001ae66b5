"""Distractors are never the oracle, and hold the answer only if no others are left, in any script."""

from __future__ import annotations

import pytest

from tests.conftest import make_chunk
from tests.evaluate.test_arms import HOLDING
from tools.raft.choices import Negatives
from tools.raft.generate.distractors import Distractors
from tools.raft.generate.given_questions import GivenQuestion, Locator
from tools.raft.records import new_draft


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
