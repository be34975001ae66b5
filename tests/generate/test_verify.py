"""Nothing unverified is accepted, and every rejection has its reason."""

from __future__ import annotations

import pytest

from tests.conftest import make_chunk
from tools.raft.generate.verify import answers_agree, verify_answer, verify_question
from tools.raft.raft_format import Answer
from tools.raft.records import Chunk, new_draft

CHUNK = make_chunk()
GOOD = "The text gives the weight: ##begin_quote##An adult weighs between five and nine grams.##end_quote##\n<ANSWER>: Five to nine grams"


def question_flaw(question: str, chunk: Chunk = CHUNK) -> str:
    return verify_question(new_draft(question, chunk["id"]), chunk)


def test_accepts_a_good_question_and_answer() -> None:
    assert question_flaw("How much does an adult lesser horseshoe bat weigh?") == ""
    assert isinstance(verify_answer(GOOD, "stop", CHUNK), Answer)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("", "empty question"),
        ("?", "empty question"),
        ("What does it weigh? And where does it live?", "several questions in one"),
        ("The bat weighs nine grams.", "not a question"),
        ("According to the passage, what does a bat weigh?", "talks about its context"),
        ("What does the context say of bats?", "talks about its context"),
        ("What is mentioned in this document?", "talks about its context"),
        ("Was sagt der Autor laut Text über Fledermäuse?", "talks about its context"),
        ("根据上下文，蝙蝠吃什么？", "talks about its context"),
        ("Why " + "very " * 100 + "big?", "question too long"),
    ],
)
def test_rejects_a_bad_question(question: str, reason: str) -> None:
    assert question_flaw(question) == reason


@pytest.mark.parametrize(
    "question",
    [
        "Which documents does a traveller hand in after a trip?",
        "In what context was the word bat first used?",
        "Who wrote the text of the anthem?",
        "蝙蝠有多重？",
        "ما وزن الخفاش؟",
        "ค้างคาวหนักเท่าไร",
        "コウモリの重さはどのくらいですか。",
    ],
)
def test_accepts_a_sensible_question(question: str) -> None:
    assert question_flaw(question) == ""


def test_a_given_question_needs_no_question_mark() -> None:
    assert verify_question(new_draft("weight of the bat", CHUNK["id"], origin="given"), CHUNK) == ""


@pytest.mark.parametrize(
    ("reply", "finish", "reason"),
    [
        (GOOD, "length", "truncated answer"),
        ("Because it weighs nine grams, which is little, the", "length", "truncated answer"),
        (GOOD.replace("nine grams.", "ten grams."), "stop", "quote is not verbatim"),
        ("Simply so.\n<ANSWER>: nine", "stop", "no quote"),
        (GOOD.replace("<ANSWER>", ""), "stop", "no <ANSWER> tag"),
        (
            "Nothing there: ##begin_quote##An adult##end_quote##\n<ANSWER>: UNANSWERABLE",
            "stop",
            "not answered by its chunk",
        ),
    ],
)
def test_rejects_a_bad_answer(reply: str, finish: str, reason: str) -> None:
    assert verify_answer(reply, finish, CHUNK) == reason


def test_compares_an_answer_with_the_expected_one() -> None:
    assert isinstance(
        verify_answer(GOOD, "stop", CHUNK, expected=["a gram", "between five and nine grams"]), Answer
    )
    assert (
        verify_answer(GOOD, "stop", CHUNK, expected=["half an hour"]) == "disagrees with the expected answer"
    )


def test_an_api_answer_must_name_a_call_of_its_entry() -> None:
    chunk = make_chunk("api_call: bats.load(name='noctule')\nLoads a recording.", kind="api")
    reply = "Load it: ##begin_quote##Loads a recording.##end_quote##\n<ANSWER>: {}"
    assert isinstance(verify_answer(reply.format("bats.load(name='pipistrelle')"), "stop", chunk), Answer)
    assert verify_answer(reply.format("use the loader"), "stop", chunk) == "answer does not name the call"
    assert question_flaw("I have a recording and want bats.load to read it", chunk) == "task names the call"
    assert question_flaw("I have a recording of a noctule and want it in memory.", chunk) == ""


@pytest.mark.parametrize(
    ("answer", "expected", "same"),
    [
        ("Five to nine grams", "between five and nine grams", True),
        ("42", "It was 42 metres", True),
        ("43 metres", "42 metres", False),
        ("the roof", "half an hour", False),
        ("六十度", "大约六十度", True),
        ("六十度", "三公里", False),
        ("", "x", False),
    ],
)
def test_answers_agree(answer: str, expected: str, same: bool) -> None:
    assert answers_agree(answer, expected) is same
