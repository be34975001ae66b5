"""Scores of answers: which metrics apply, which are missing, and each metric against a reference."""

from __future__ import annotations

import random
import re
from typing import Any

import numpy as np
import pytest

from tests.rag.test_answer import hit
from tools.raft.errors import UserError
from tools.raft.evaluate.score import (
    Gold,
    oracle_found,
    read_gold,
    score_answer,
    score_answers,
    score_similarity,
)
from tools.raft.models.embed import Embedder
from tools.raft.rag.citations import read_reply

OTTER, HERON = "Otters eat fish. They swim at night.", "Herons stand still. 夜にも立っている。"
DOCUMENTS = [hit(OTTER, source="otters.txt"), hit(HERON, rank=2, source="herons.txt")]
RIGHT = "It says ##begin_quote##Otters eat fish.##end_quote##\n<ANSWER>: fish"


def answered(reply: str, documents: Any = DOCUMENTS, **more: Any) -> dict[str, Any]:
    return {**read_reply(reply, documents), "documents": documents, "error": "", **more}


GOLD = Gold(("fish",), frozenset({"otters.txt"}))


def test_a_correct_answer() -> None:
    scores = score_answer(answered(RIGHT, prompt_tokens=90, completion_tokens=20, seconds=0.5), GOLD)
    assert scores == {
        "exact_match": 1, "f1": 1, "tagged": 1, "quoted": 1, "quotes_verbatim": 1, "oracle_quoted": 1,
        "distractor_quoted": 0, "correct_citation": 1, "false_refusal": 0, "answer_words": 1, "reply_words": 6,
        "prompt_tokens": 90, "completion_tokens": 20, "seconds": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("fish", {"f1": 1, "tagged": 0, "quoted": 0, "correct_citation": 0, "distractor_quoted": 0}),
        (
            RIGHT.replace("Otters eat", "Otters like"),
            {"quoted": 1, "quotes_verbatim": 0, "correct_citation": 0},
        ),
        (
            RIGHT.replace("Otters eat fish", "Herons stand still"),
            {"quotes_verbatim": 1, "oracle_quoted": 0, "distractor_quoted": 1, "correct_citation": 0},
        ),
        (
            RIGHT.replace("\n", "##begin_quote##Herons stand still.##end_quote##\n"),
            {"oracle_quoted": 0.5, "distractor_quoted": 1, "correct_citation": 0},
        ),
        ("<ANSWER>: The documents do not say.", {"false_refusal": 1, "f1": 0, "exact_match": 0}),
        ("<ANSWER>: fish\n<ANSWER>: fish", {"tagged": 1, "f1": 1}),
    ],
)
def test_each_flaw_lowers_its_own_metrics(reply: str, expected: dict[str, float]) -> None:
    scores = score_answer(answered(reply), GOLD)
    assert {name: scores[name] for name in expected} == expected


def test_refusals_are_correct_without_an_answer_in_the_documents() -> None:
    refusal = answered("<ANSWER>: The documents do not say.")
    unanswerable = score_answer(refusal, Gold(()))
    assert (unanswerable["correct_refusal"], unanswerable["exact_match"], unanswerable["f1"]) == (1, 1, 1)
    assert "false_refusal" not in unanswerable
    not_retrieved = score_answer({**refusal, "documents": DOCUMENTS[1:]}, GOLD)
    assert (not_retrieved["correct_refusal"], not_retrieved["f1"]) == (1, 0)
    assert score_answer(answered(RIGHT), Gold(()))["f1"] == 0


def test_a_failed_call_is_missing_and_not_zero() -> None:
    failed = {**answered(""), "error": "HTTP 500", "prompt_tokens": 0, "seconds": None}
    scores = score_answer(failed, GOLD)
    assert set(scores.values()) == {None}
    assert scores.keys() >= score_answer(answered(RIGHT, prompt_tokens=9, seconds=1.0), GOLD).keys() - {
        "correct_refusal"
    }


BOTH = Gold(("fish",), frozenset({"otters.txt", "herons.txt"}), oracles=("otters.txt", "herons.txt"))
TWO_QUOTES = RIGHT.replace("\n", " ##begin_quote##Herons stand still.##end_quote##\n")


def test_an_answer_that_needs_two_documents_quotes_both() -> None:
    assert [document["source"] for document in DOCUMENTS[:2]] == ["otters.txt", "herons.txt"]
    scores = score_answer(answered(TWO_QUOTES), BOTH)
    assert (scores["correct_citation"], scores["oracle_quoted"], scores["distractor_quoted"]) == (1, 1, 0)
    single = score_answer(answered(RIGHT), BOTH)
    assert (single["correct_citation"], single["oracle_quoted"]) == (0, 1)
    any_will_do = score_answer(answered(RIGHT), Gold(("fish",), frozenset({"otters.txt", "herons.txt"})))
    assert any_will_do["correct_citation"] == 1


def test_two_documents_that_are_needed_are_found_only_if_both_are() -> None:
    assert oracle_found(DOCUMENTS, BOTH) is True
    assert oracle_found(DOCUMENTS[:1], BOTH) is False
    assert oracle_found([], BOTH) is None
    refusal = answered("<ANSWER>: The documents do not say.", DOCUMENTS[:1])
    assert score_answer(refusal, BOTH)["correct_refusal"] == 1, "one of the two is not enough to answer"
    with pytest.raises(UserError, match='"oracles" must list'):
        read_gold({"question": "How?", "oracles": [3]})


def test_without_documents_no_quote_is_expected() -> None:
    scores = score_answer(answered("<ANSWER>: fish", []), GOLD)
    assert scores["f1"] == 1
    assert not {"quoted", "correct_citation", "correct_refusal"} & scores.keys()
    assert "quoted" in score_answer({**answered(RIGHT), "documents": None}, GOLD)


def test_without_a_gold_answer_or_oracle_their_metrics_do_not_apply() -> None:
    scores = score_answer(answered(RIGHT), Gold())
    assert not {"f1", "exact_match", "correct_citation", "false_refusal", "correct_refusal"} & scores.keys()


@pytest.mark.parametrize(
    ("row", "gold"),
    [
        ({"answer": "fish", "source": "a.txt"}, Gold(("fish",), frozenset({"a.txt"}))),
        ({"answers": ["fish", "eels"], "chunk_id": "c1", "source": "a"}, Gold(("fish", "eels"), frozenset({"c1"}))),
        ({"answers": {"text": ["fish"], "answer_start": [0]}}, Gold(("fish",))),
        ({"answers": [], "relevant": ["x", "y"]}, Gold((), frozenset("xy"))),
        ({"answers": [], "relevant": ["x"], "oracles": ["y", "x"]}, Gold((), frozenset("xy"), oracles=("y", "x"))),
        ({"answer": "fish", "oracles": ["x"], "source": "y"}, Gold(("fish",), frozenset("x"))),
        ({"answer": "fish", "oracles": [], "source": "y"}, Gold(("fish",), frozenset("y"))),
        ({"answer": "fish", "answerable": False, "language": "de"}, Gold((), language="de")),
        ({"final_answer": "fish"}, Gold(("fish",))),
        ({"answer": 0}, Gold(("0",))),
        ({"answer": False}, Gold(("false",))),
        ({"answers": [1911, "in 1911"]}, Gold(("1911", "in 1911"))),
        ({"answers": [{"text": "fish", "answer_start": 4}, {"text": "fish"}]}, Gold(("fish",))),
        ({"answers": None, "answer": "fish"}, Gold(("fish",))),
        ({"answers": {"text": []}, "is_impossible": True}, Gold(())),
        ({"answer": ""}, Gold()),
        ({"answer": float("nan")}, Gold()),
        ({"question": "?"}, Gold()),
    ],
)  # fmt: skip
def test_gold_answers_are_read_in_every_usual_format(row: dict[str, Any], gold: Gold) -> None:
    assert read_gold(row) == gold


def test_rejects_a_gold_answer_that_is_no_text() -> None:
    with pytest.raises(UserError, match=r"'How\?': the answer must be a string"):
        read_gold({"question": "How?", "answer": {"value": 5}})


def test_only_the_requested_metrics_are_returned() -> None:
    assert score_answers([answered(RIGHT)], [GOLD], only=["f1", "tagged"]) == [{"f1": 1, "tagged": 1}]
    with pytest.raises(UserError, match="unknown metric 'bleu': choose one of exact_match, f1"):
        score_answers([], [], only=["bleu"])


class LetterCounts(Embedder):
    """Embed a text by its letter counts: enough to compare two computations of the cosine."""

    def embed(self, texts, **_):  # type: ignore[no-untyped-def, override]
        counts = np.array([[text.count(letter) + 0.1 for letter in "abcdefghijk夜"] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def test_similarity_agrees_with_torch() -> None:
    """The reference is torch 2.13.0's cosine_similarity."""
    import torch

    assert torch.__version__.startswith("2.13.0")
    rng = random.Random(1)
    texts = ["", "fish", "夜にも", "a bad badge", "ice", "jade hike", "Größe", *OTTER.split(), *HERON.split()]
    rows = [{"answer": rng.choice(texts), "error": ""} for _ in range(250)]
    golds = [Gold(tuple(rng.choices(texts, k=rng.randint(1, 4)))) for _ in rows]
    similarities = score_similarity(rows, golds, LetterCounts())
    for row, gold, similarity in zip(rows, golds, similarities, strict=True):
        vectors = torch.from_numpy(LetterCounts().embed([row["answer"], *gold.answers]))  # type: ignore[misc]
        expected = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:]).max().item()
        assert similarity == pytest.approx(expected, abs=1e-5)
    assert score_similarity([{"answer": "", "error": "x"}], [Gold(("a",))], LetterCounts()) == [None]
    assert score_similarity(rows[:1], [Gold()], LetterCounts()) == [None]


def test_format_and_quote_metrics_agree_with_an_independent_implementation() -> None:
    """No package computes these: the reference is an implementation on the text of the reply alone."""
    rng = random.Random(3)
    pieces = [
        "Otters eat fish.", "They swim at night.", "Herons stand still.", "夜にも立っている。", "Otters eat  fish.", "They fly.",
        "", "Herons",
    ]  # fmt: skip
    finals = [
        "\n<ANSWER>: fish",
        "\n<ANSWER>:夜",
        "\n<ANSWER>: The documents do not say.",
        "\n<ANSWER>:",
        "",
        "fish",
    ]
    for _ in range(600):
        quotes = rng.choices(pieces, k=rng.randint(0, 3))
        reply = "".join(f"So: ##begin_quote##{quote}##end_quote## " for quote in quotes) + rng.choice(finals)
        gold = Gold(("fish",), frozenset({rng.choice(["otters.txt", "id2", "elsewhere"])}))
        scores = score_answer(answered(reply), gold)

        found = list(dict.fromkeys(quote for quote in quotes if quote))
        texts = {"otters": OTTER, "herons": HERON}
        matches = [[n for n, text in texts.items() if " ".join(q.split()) in text] for q in found]
        oracle = {"otters.txt": "otters", "id2": "herons", "elsewhere": ""}[next(iter(gold.relevant))]
        verbatim = [names[0] for names in matches if names]
        correct = [name for name in verbatim if name == oracle]
        after_tag = re.split("<ANSWER>:", reply)[1:]
        final = re.sub(r"##\w+##", "", after_tag[0] if after_tag else reply).strip()
        refused = not final or final.startswith("The documents do not say")
        expected = {
            "tagged": float(bool(after_tag)),
            "quoted": float(bool(found)),
            "distractor_quoted": float(len(correct) < len(verbatim)),
        }
        if found:
            expected["quotes_verbatim"] = len(verbatim) / len(found)
        if verbatim:
            expected["oracle_quoted"] = len(correct) / len(verbatim)
        if not refused:
            expected["correct_citation"] = float(bool(verbatim) and len(correct) == len(verbatim))
        expected["false_refusal" if oracle else "correct_refusal"] = float(refused)
        assert {name: scores.get(name) for name in expected} == expected, reply
        assert scores.keys() & {"quotes_verbatim", "oracle_quoted", "correct_citation"} == expected.keys() & {
            "quotes_verbatim", "oracle_quoted", "correct_citation"
        }  # fmt: skip
