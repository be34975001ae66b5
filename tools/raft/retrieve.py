"""Retrieve chunks for a question: lexical, dense, or both fused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from .records import Chunk
from .safe import fold

if TYPE_CHECKING:
    import numpy as np

    from .embed import Embedder

Mode = Literal["lexical", "dense", "fused"]

RRF_CONSTANT = 60  # Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", SIGIR 2009
_FUSED_DEPTH = 50  # ranks of each list that take part in the fusion
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


class Retriever:
    """Hold chunks ready to be searched: BM25 over words, exact inner product over embeddings, or both.

    Fused ranks are reciprocal-rank sums of the two lists. `embedder` is needed for dense and fused.
    """

    def __init__(
        self, chunks: Sequence[Chunk], mode: Mode = "lexical", embedder: Embedder | None = None
    ) -> None:
        self._count = len(chunks)
        self._lexical = _Lexical([chunk["text"] for chunk in chunks]) if mode != "dense" and chunks else None
        self._dense = None
        if mode != "lexical" and chunks:
            assert embedder is not None, "dense retrieval needs an embedder"
            self._dense = _Dense([chunk["text"] for chunk in chunks], embedder)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        """Give for each query the positions of its k best chunks, best first; fewer where there are fewer."""
        k = min(k, self._count)
        if not queries or not k:
            return [[] for _ in queries]
        if self._lexical and self._dense:
            depth = min(self._count, max(k, _FUSED_DEPTH))
            lists = zip(self._lexical.search(queries, depth), self._dense.search(queries, depth), strict=True)
            return [fuse(pair)[:k] for pair in lists]
        ranker = self._lexical or self._dense
        assert ranker is not None
        return ranker.search(queries, k)


def fuse(rankings: Sequence[Sequence[int]]) -> list[int]:
    """Fuse rankings by the sum of 1 / (60 + rank); ties go to the lower position."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, position in enumerate(ranking, start=1):
            scores[position] = scores.get(position, 0.0) + 1.0 / (RRF_CONSTANT + rank)
    return sorted(scores, key=lambda position: (-scores[position], position))


def words(text: str) -> list[str]:
    """Split text into lower-case words for BM25; scripts without blanks give pairs of characters."""
    tokens: list[str] = []
    for word in re.findall(r"\w+", fold(text).casefold()):
        at = 0
        for run in _UNSPACED.finditer(word):
            tokens += [word[at : run.start()]] if run.start() > at else []
            characters = run.group()
            tokens += [characters[i : i + 2] for i in range(max(1, len(characters) - 1))]
            at = run.end()
        tokens += [word[at:]] if at < len(word) else []
    return tokens


class _Lexical:
    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        self._index = bm25s.BM25()
        # An index without a single word cannot be built; a blank stands for "no words".
        self._index.index([words(text) or [" "] for text in texts], show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        positions, scores = self._index.retrieve(
            [words(query) or [" "] for query in queries], k=k, show_progress=False, return_as="tuple"
        )
        # A chunk that shares no word with the query was not found.
        return [
            [int(at) for at, score in zip(row, row_scores, strict=True) if score > 0]
            for row, row_scores in zip(positions, scores, strict=True)
        ]


class _Dense:
    def __init__(self, texts: Sequence[str], embedder: Embedder) -> None:
        import faiss

        self._embedder = embedder
        vectors: np.ndarray = embedder.embed(texts)
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(vectors)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        _, positions = self._index.search(self._embedder.embed(queries), k)
        return [[int(at) for at in row if at >= 0] for row in positions]
