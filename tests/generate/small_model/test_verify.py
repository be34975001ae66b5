"""Replies of a small model are accepted only if they are likely and question and answer agree."""

from __future__ import annotations

import pytest

from tests.conftest import make_chunk
from tests.generate.small_model.test_grammar import SENTENCES, reply
from tools.raft.generate.small_model.verify import (
    find_answer_flaw,
    find_question_flaw,
    is_likely_answer,
    is_likely_wording,
    logprobs_after,
)
from tools.raft.raft_format import Answer, parse_answer
from tools.raft.records import Draft, new_draft

SPLIT_MARK = (("Answer", -9.0), (": a\nQues", -9.0), ("tion:", -9.0), (" Why", -1.0), ("?", -3.0))


def test_only_tokens_after_the_mark_count() -> None:
    assert logprobs_after("Question:", SPLIT_MARK) == [-1.0, -3.0]
    assert logprobs_after("Answer:", SPLIT_MARK[:1]) == []


def test_wording_must_be_likely_throughout() -> None:
    assert is_likely_wording([-0.5, -0.2, -1.2])
    assert not is_likely_wording([-0.9, -0.9]), "on average"
    assert not is_likely_wording([-0.1] * 9 + [-3.0]), "one very unlikely token"
    assert is_likely_wording([]) and is_likely_answer([]), "without log-probabilities nothing is rejected"


def flaw_of(question: str, final: str, quote: str, *, expected: str = "", target: str = "") -> str:
    draft = new_draft(question, "c")
    draft["target"], draft["expected"] = target or quote, [expected or final]
    answer = parse_answer(reply(quote, final))
    assert isinstance(answer, Answer)
    return find_answer_flaw(draft, make_chunk(), answer)


def test_accepts_a_round_trip_that_agrees() -> None:
    assert (
        flaw_of("How much does a bat weigh?", "five to nine grams", "A bat weighs five to nine grams.") == ""
    )
    assert flaw_of("When do bats leave?", "at dusk", "The bats leave their roost at dusk.") == ""
    assert flaw_of("Where does the Lesser horseshoe bat hang?", "from the roof of a cave", SENTENCES[0]) == ""


@pytest.mark.parametrize(
    ("question", "final", "quote", "options", "reason"),
    [
        (
            "Where does it hunt midges?",
            "the roost",
            SENTENCES[3],
            {"target": SENTENCES[2]},
            "tries disagree on the sentence",
        ),
        ("Does it hunt midges?", SENTENCES[3][:-1], SENTENCES[3], {}, "answer too long"),
        ("Where is the roost?", "within two kilometres of", SENTENCES[3], {}, "answer is a fragment"),
        ("How many kilometres from the roost?", "midges", SENTENCES[3], {}, "answer is no amount"),
        ("How often are midges hunted?", "within two kilometres", SENTENCES[3], {}, "answer is no frequency"),
        ("Does the bat hunt midges?", "midges", SENTENCES[3], {}, "question gives its answer away"),
        (
            "What did it hunt near the roost?",
            "midges",
            SENTENCES[3],
            {},
            "question leaves open about whom or what",
        ),
        (
            "How long ago did bats hunt midges?",
            "two years",
            "Bats hunt midges for two years.",
            {},
            "answer is no time ago",
        ),
        (
            "What bat hunts midges?",
            "the noctule",
            "Three bats hunt midges: the noctule (N. noctula), the serotine and the barbastelle.",
            {},
            "answer is one of several",
        ),
        ("How many wings has a bat?", "five and nine", SENTENCES[1], {}, "answer counts something else"),
        (
            "What does the Greater bat hunt?",
            "midges",
            SENTENCES[3],
            {},
            "question names what its chunk does not",
        ),
        ("What did bats hunt in 1950?", "midges", SENTENCES[3], {}, "question names what its chunk does not"),
        (
            "What is the food of a parasite of the Lesser horseshoe bat?",
            "midges",
            SENTENCES[3],
            {},
            "question strays from its sentence",
        ),
    ],
)
def test_rejects_a_round_trip_that_disagrees(
    question: str, final: str, quote: str, options: dict, reason: str
) -> None:
    assert flaw_of(question, final, quote, **options) == reason


@pytest.mark.parametrize(
    ("listed", "answer", "complete"),
    [
        ("midges, moths and beetles", "midges", False),
        ("midges, moths and beetles", "midges, moths", False),
        ("midges, moths and beetles", "moths", False),
        ("midges, moths and beetles", "beetles", False),
        ("midges, moths and beetles", "midges, moths and beetles", True),
        ("midges, moths, crane flies and beetles", "midges", False),
        ("midges, moths, crane flies and beetles", "moths", False),
        ("midges, moths, crane flies and beetles", "midges, moths, crane flies and beetles", True),
    ],
)
def test_one_item_of_a_list_is_not_a_complete_answer(listed: str, answer: str, complete: bool) -> None:
    chunk = make_chunk(f"In summer the horseshoe bat hunts {listed}.")
    draft = new_draft("What does the horseshoe bat hunt in summer?", chunk["id"])
    draft["target"], draft["expected"] = chunk["text"], [chunk["text"]]
    parsed = parse_answer(reply(chunk["text"], answer, "what"))
    assert isinstance(parsed, Answer)
    assert find_answer_flaw(draft, chunk, parsed) == ("" if complete else "answer is one of several")


def test_rejects_a_bad_question_before_its_answer_is_paid_for() -> None:
    def flaw(draft: Draft) -> str:
        return find_question_flaw(draft["question"], draft["expected"][0], draft["target"], make_chunk())

    draft = new_draft("Does the bat hunt midges?", "c")
    draft["target"], draft["expected"] = SENTENCES[3], ["midges"]
    assert flaw(draft) == "question gives its answer away"
    draft["question"], draft["expected"] = "What do bats hunt within two kilometres?", ["midges"]
    assert flaw(draft) == ""
