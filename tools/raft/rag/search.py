"""Retrieve chunks for a question: lexical, dense, or both fused."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..choices import Mode
from ..errors import UserError
from ..records import Chunk
from ..text.normalise import UNSPACED, fold

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder

Ranking = list[tuple[int, float]]  # (position of a chunk, score), best first

RRF_CONSTANT = 60  # Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", SIGIR 2009
_FUSED_DEPTH = 50  # ranks of each list that are fused
_UNSPACED_RUN = re.compile(UNSPACED.pattern + "+")


class Retriever:
    """Search chunks in memory, without an index folder: BM25 over words, embeddings, or both.

    Fused scores are sums of the reciprocal ranks in the two lists. `embedder` is required for dense and
    fused retrieval.
    """

    def __init__(
        self, chunks: Sequence[Chunk], mode: Mode = "lexical", embedder: Embedder | None = None
    ) -> None:
        texts = [chunk["text"] for chunk in chunks]
        self._lexical = Lexical(texts) if mode != "dense" and chunks else None
        self._dense = None
        if mode != "lexical" and chunks:
            assert embedder is not None, "dense retrieval needs an embedder"
            self._dense = Dense(exact_index(embedder.embed(texts)), embedder)

    def search(self, queries: Sequence[str], k: int) -> list[list[int]]:
        """Return the positions of the k best chunks for each query, best first; fewer if fewer are found."""
        found = rank(queries, k, self._lexical, self._dense)
        return [[position for position, _ in ranking] for ranking in found]


def rank(queries: Sequence[str], k: int, lexical: Lexical | None, dense: Dense | None) -> list[Ranking]:
    """Rank chunks for each query with the given searchers: BM25, embeddings, or both fused.

    Each ranking has at most k chunks, fewer if fewer are found. Scores are those of BM25, inner
    products, or sums of reciprocal ranks.
    """
    ranker = lexical or dense
    if not queries or k < 1 or ranker is None:
        return [[] for _ in queries]
    if lexical and dense:
        depth = max(k, _FUSED_DEPTH)
        pairs = zip(lexical.search(queries, depth), dense.search(queries, depth), strict=True)
        return [fuse(pair)[:k] for pair in pairs]
    return ranker.search(queries, k)


def fuse(rankings: Sequence[Ranking]) -> Ranking:
    """Fuse rankings by the sum of 1 / (60 + rank); ties go to the lower position."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for number, (position, _) in enumerate(ranking, start=1):
            scores[position] = scores.get(position, 0.0) + 1.0 / (RRF_CONSTANT + number)
    return sorted(scores.items(), key=lambda item: (-item[1], item[0]))


def words(text: str) -> list[str]:
    """Split text into lower-case words for BM25; scripts without spaces into character bigrams."""
    tokens: list[str] = []
    for word in re.findall(r"\w+", fold(text).casefold()):
        start = 0
        for run in _UNSPACED_RUN.finditer(word):
            tokens += [word[start : run.start()]] if run.start() > start else []
            characters = run.group()
            tokens += [characters[i : i + 2] for i in range(max(1, len(characters) - 1))]
            start = run.end()
        tokens += [word[start:]] if start < len(word) else []
    return tokens


class Lexical:
    """Lexical retrieval: BM25 over the words of texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        import bm25s

        logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
        self._count = len(texts)
        self._index = bm25s.BM25()
        # bm25s cannot index a corpus without a single word; a space stands for a text without words.
        self._index.index([words(text) or [" "] for text in texts], show_progress=False)

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """Return the k best texts for each query, leaving out those that share no word with it."""
        positions, scores = self._index.retrieve(
            [words(query) or [" "] for query in queries],
            k=min(k, self._count),
            show_progress=False,
            return_as="tuple",
        )
        return [
            [(position, score) for position, score in zip(row, row_scores, strict=True) if score > 0]
            for row, row_scores in zip(positions.tolist(), scores.tolist(), strict=True)
        ]

    def document_counts(self) -> Iterator[tuple[str, int]]:
        """Yield each word with the number of texts that have it."""
        starts = self._index.scores["indptr"]
        for word, position in self._index.vocab_dict.items():
            if word.strip():  # neither what stands for a text without words, nor bm25s's own empty word
                yield word, int(starts[position + 1] - starts[position])


class Dense:
    """Dense retrieval: inner products with the vectors of a FAISS index."""

    def __init__(self, index: Any, embedder: Embedder) -> None:
        self._index = index
        self.embedder = embedder

    def load(self) -> None:
        """Load the embedding model, so that the first search does not wait for it."""
        self.embedder.load()

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """Return for each query the k texts whose vectors are closest to that of the query."""
        vectors = self.embedder.embed_queries(queries)
        if vectors.shape[1] != self._index.d:
            raise UserError(
                f"{self.embedder.name} returns vectors of {vectors.shape[1]} dimensions, the index has "
                f"{self._index.d}: open it with the model it was built with"
            )
        return self.search_vectors(vectors, k)

    def search_vectors(self, vectors: np.ndarray, k: int) -> list[Ranking]:
        """Search with embedded queries: float32 of shape (queries, dimensions)."""
        scores, positions = self._index.search(vectors, min(k, self._index.ntotal))
        return [
            [(position, score) for position, score in zip(row, row_scores, strict=True) if position >= 0]
            for row, row_scores in zip(positions.tolist(), scores.tolist(), strict=True)
        ]


def exact_index(vectors: np.ndarray) -> Any:
    """Build a FAISS index that compares a query with every vector."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index
