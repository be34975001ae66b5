"""The sentences of an index are embedded once, when it is built, and stay in step with its chunks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import make_chunk
from tests.rag.test_index import Hashed, contents
from tools.raft.errors import UserError
from tools.raft.rag.build_index import build_index
from tools.raft.rag.focus import Focus
from tools.raft.rag.index import Index, open_index
from tools.raft.rag.sentences import Sentences

TEXTS = [
    "Otters eat fish. They sleep in holts. The holts are dry.",
    "最高法院设在首都。共有十五名法官在最高法院任职。",
    "Herons nest here",
]
CHUNKS = [make_chunk(text, source=f"{number}.txt") for number, text in enumerate(TEXTS)]
QUESTION = "Where do otters sleep?"


def opened(folder: Path, embedder: Hashed | None = None) -> Index:
    index = open_index(folder)
    index.dense.embedder = embedder or Hashed()
    return index


def test_an_index_with_sentences_embeds_nothing_but_the_question(tmp_path: Path) -> None:
    build_index(CHUNKS, tmp_path, Hashed(), sentences=True)
    embedder = Hashed()
    index = opened(tmp_path, embedder)
    hits = index.search([QUESTION], 3)
    ((documents, cosines),) = index.sentences.compare([QUESTION], [TEXTS])
    Focus(index.sentences).cut([QUESTION], hits)
    assert embedder.texts == [QUESTION], "once for search, cosines and focus together"
    assert [[sentence for _, _, sentence in spans] for spans in documents] == [
        ["Otters eat fish.", "They sleep in holts.", "The holts are dry."],
        ["最高法院设在首都。", "共有十五名法官在最高法院任职。"],
        ["Herons nest here"],
    ]
    ((_, without),) = Sentences(Hashed()).compare([QUESTION], [TEXTS])
    np.testing.assert_allclose(cosines, without, atol=2e-3, err_msg="stored in half precision")


def test_a_text_that_is_not_in_the_index_is_embedded_and_remembered(tmp_path: Path) -> None:
    build_index(CHUNKS, tmp_path, Hashed(), sentences=True)
    embedder = Hashed()
    sentences = opened(tmp_path, embedder).sentences
    for _ in range(2):
        sentences.compare([QUESTION], [[TEXTS[0], "A new one. And a second."]])
    assert embedder.texts == [*{"A new one.": 0, "And a second.": 0}, QUESTION]


def test_only_new_sentences_are_embedded_and_the_option_is_remembered(tmp_path: Path) -> None:
    build_index(CHUNKS[:2], tmp_path, Hashed(), sentences=True)
    later = Hashed()
    build_index(CHUNKS, tmp_path, later)
    assert set(later.texts) == {"Herons nest here"}
    ((_, cosines),) = opened(tmp_path).sentences.compare([QUESTION], [TEXTS])
    assert len(cosines) == 6
    build_index(CHUNKS, tmp_path, Hashed(), sentences=False)
    assert set(contents(tmp_path)) == {"index.faiss", "chunks.jsonl", "manifest.json"}
    again = Hashed()
    build_index(CHUNKS, tmp_path, again, sentences=True)
    assert "Otters eat fish." in again.texts and TEXTS[0] not in again.texts


def test_an_interrupted_build_is_resumed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build_index(CHUNKS, tmp_path / "killed", Hashed(stop_after=4), sentences=True)
    rest = Hashed()
    build_index(CHUNKS, tmp_path / "killed", rest, sentences=True)
    assert len(rest.texts) == 8 - 4, "three chunks and six sentences, one of them the chunk itself"
    build_index(CHUNKS, tmp_path / "whole", Hashed(), sentences=True)
    vectors = ("index.faiss", "sentences.npy", "sentence_starts.npy")
    killed, whole = contents(tmp_path / "killed"), contents(tmp_path / "whole")
    assert {name: killed[name] for name in vectors} == {name: whole[name] for name in vectors}


def test_damaged_sentences_are_an_error(tmp_path: Path) -> None:
    build_index(CHUNKS, tmp_path, Hashed(), sentences=True)
    path = tmp_path / "sentences.npy"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match=r"sentences\.npy is damaged"):
        open_index(tmp_path)
