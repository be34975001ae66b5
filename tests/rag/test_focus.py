"""Focus: documents are cut to the sentences that matter, in any script, and keep their places."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.rag.test_answer import hit
from tools.raft.rag.answer import build_instruction
from tools.raft.rag.focus import Focus, choose
from tools.raft.rag.sentences import Sentences
from tools.raft.rag.weigh_words import words
from tools.raft.text.excerpts import GAP, is_excerpt, join_sentences
from tools.raft.text.sentences import sentence_spans


class Words:
    """Embed a text as counts of its words in 64 bins: similar texts share words."""

    calls = 0

    def embed_queries(self, queries: list[str]) -> np.ndarray:
        return self.embed(queries)

    def embed(self, texts: list[str]) -> np.ndarray:
        self.calls += 1
        rows = np.zeros((len(texts), 64), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in words(text):
                row[sum(word.encode()) % 64] += 1
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)


def focus(least: int = 1, share: float = 0.5) -> Focus:
    return Focus(Sentences(Words()), share=share, least=least)  # type: ignore[arg-type]


OTTERS = "The river Aru is long. Otters eat eleven fish a day. They sleep in holts.\n\nThe holts are dry. Herons nest here."
GATES = "The gate of the cave has bars. A gap of 15 centimetres lets bats through. Nobody else passes."


def test_a_document_is_cut_to_what_the_question_asks_for() -> None:
    (cut,) = focus().cut(["How many fish do otters eat a day?"], [[hit(OTTERS), hit(GATES)]])
    assert cut[0]["focus"] == f"{GAP} Otters eat eleven fish a day. {GAP}"
    assert cut[1]["focus"] == GAP, "a document without a good sentence keeps its place"
    assert cut[0]["text"] == OTTERS, "citations are looked up in the whole text"
    instruction = build_instruction(cut, "How many?")
    assert instruction == (
        f"<DOCUMENT>{GAP} Otters eat eleven fish a day. {GAP}</DOCUMENT>\n<DOCUMENT>{GAP}</DOCUMENT>\nHow many?"
    )


@pytest.mark.parametrize(
    ("question", "text", "kept"),
    [
        ("Wie viele Richter hat der Gerichtshof?", "Der Gerichtshof sitzt in Bern. Er hat fünfzehn Richter am "
         "Gerichtshof. Im Mai war er z.B. leer.", "Er hat fünfzehn Richter am Gerichtshof."),
        ("最高法院共有多少名法官？", "最高法院设在首都。共有十五名法官在最高法院任职。雨季很长。", "共有十五名法官在最高法院任职。"),
    ],
)  # fmt: skip
def test_any_language(question: str, text: str, kept: str) -> None:
    (cut,) = focus().cut([question], [[hit(text)]])
    assert kept in cut[0]["focus"] and len(cut[0]["focus"]) < len(text) + 4


def test_more_is_kept_where_many_sentences_score_alike() -> None:
    alike, clear = np.array([1.0] * 10), np.array([4.0] + [0.0] * 9)
    assert len(choose(alike, 0.8, 1)) == 8
    assert choose(clear, 0.8, 1) == {0}
    assert len(choose(clear, 0.8, 3)) == 3


def test_sentences_stay_verbatim_and_gaps_are_marked() -> None:
    spans = list(sentence_spans(OTTERS))
    assert join_sentences(OTTERS, spans, range(len(spans))) == OTTERS
    assert join_sentences(OTTERS, spans, [2, 3]) == f"{GAP} They sleep in holts.\n\nThe holts are dry. {GAP}"
    assert join_sentences(OTTERS, spans, [0, 4]) == f"The river Aru is long. {GAP} Herons nest here."
    for positions in ([0], [1, 3], [4]):
        for piece in re.split(rf" ?{GAP} ?", join_sentences(OTTERS, spans, positions)):
            assert piece in OTTERS


def test_a_document_is_embedded_once() -> None:
    embedder = Words()
    focused = Focus(Sentences(embedder))  # type: ignore[arg-type]
    focused.cut(["otters?", "gates?"], [[hit(OTTERS)], [hit(OTTERS), hit(GATES)]])
    assert embedder.calls == 2, "sentences and questions"
    focused.cut(["fish?"], [[hit(GATES)]])
    assert embedder.calls == 3, "the question only"


def test_nothing_to_cut() -> None:
    assert focus().cut([], []) == []
    assert focus().cut(["a question"], [[]]) == [[]]
    assert focus().cut(["a question"], [[hit("")]])[0][0]["focus"] in ("", GAP)


def test_a_quoted_sentence_is_kept_however_it_scores() -> None:
    (cut,) = focus().excerpts(
        ["How many fish do otters eat a day?"], [[OTTERS, GATES]], keep=[["bats through. Nobody else"]]
    )
    assert cut == [
        f"{GAP} Otters eat eleven fish a day. {GAP}",
        f"{GAP} A gap of 15 centimetres lets bats through. Nobody else passes.",
    ]
    assert all(is_excerpt(excerpt, text) for excerpt, text in zip(cut, (OTTERS, GATES), strict=True))
    assert not is_excerpt(cut[0], GATES)
    assert not is_excerpt("Nobody else passes. … The gate of the cave has bars.", GATES), "not in their order"
