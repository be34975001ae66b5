"""Drills: questions made from a chunk's sentences by rule."""

from __future__ import annotations

import pytest

from tests.conftest import BATS
from tools.raft.generate.small_model.drills import make_drills
from tools.raft.ingest.chunks import make_chunk
from tools.raft.raft_format import parse_answer
from tools.raft.records import Chunk
from tools.raft.text.quotes import anchor_quotes

GERMAN = (
    "Die Kirche wurde im Jahr 1724 von Balthasar Neumann in Würzburg erbaut. "
    "Sie ist 48 Meter hoch und hat zwei Türme aus rotem Sandstein."
)
CHINESE = "国家的法律体系分为三级。最高法院由十五名法官组成，设在首都北京。"


def chunk_of(text: str) -> Chunk:
    return make_chunk(text, title="", source="a.txt", page=None, kind="text")


@pytest.mark.parametrize("text", [BATS, GERMAN, CHINESE], ids=["english", "german", "chinese"])
def test_a_drill_quotes_its_chunk_and_answers_from_the_quote(text: str) -> None:
    drills = make_drills(chunk_of(text), 12, seed=1)
    assert len(drills) == 12
    for drill in drills:
        answer = parse_answer(drill["cot_answer"])
        assert not isinstance(answer, str)
        anchored = anchor_quotes(answer, text)
        assert not isinstance(anchored, str), "the quote is verbatim"
        assert drill["final_answer"] == answer.final and answer.final in answer.quotes[0]
        assert drill["question"].endswith("?") and drill["origin"] == "drill"


def test_the_question_does_not_contain_the_answer() -> None:
    drills = make_drills(
        chunk_of("The Aru lock was built by Hendrik Vos in 1824 for two barges."), 30, seed=3
    )
    years = [drill for drill in drills if drill["final_answer"] == "1824"]
    assert years and all("1824" not in drill["question"] for drill in years)
    assert all(drill["question"].startswith(("When ", "In what year ")) for drill in years)
    people = [drill for drill in drills if drill["final_answer"] == "Hendrik Vos"]
    assert people, "a name is not split"


def test_answers_are_names_and_numbers_if_there_are_any() -> None:
    text = "The lock keeper counts every boat that passes. In 1824 the Aru lock was built by Hendrik Vos."
    answers = {drill["final_answer"] for drill in make_drills(chunk_of(text), 30, seed=5)}
    assert answers == {"1824", "Aru", "Hendrik Vos"}
    plain = "the lock keeper counts every boat that passes and writes it down in a book."
    assert make_drills(chunk_of(f"A{plain[3:]}"), 3, seed=5), "without either, any content words"


def test_drills_are_distinct_and_reproducible() -> None:
    chunk = chunk_of(BATS)
    drills = make_drills(chunk, 20, seed=7)
    assert len({drill["question"] for drill in drills}) == len(drills)
    assert make_drills(chunk, 20, seed=7) == drills
    assert make_drills(chunk, 20, seed=8) != drills


def test_a_chunk_without_sentences_has_no_drills() -> None:
    assert make_drills(chunk_of("# Prices\n\n| day | 12 |\n| week | 60 |"), 5, seed=1) == []
