"""Retrieve chunks for a question: lexical, dense, or both fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..choices import Mode
from ..errors import UserError
from ..on_disk import Column, DiskArray
from ..records import Chunk
from .lexical import Lexical, Ranking
from .vectors import BLOCK, EXACT_UP_TO, Refined, compressed_index, exact_index

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder

RRF_CONSTANT = 60  # Cormack, Clarke and Büttcher, "Reciprocal Rank Fusion", SIGIR 2009
_FUSED_DEPTH = 50  # ranks of each list that are fused


class Retriever:
    """Search chunks in memory, without an index folder: BM25 over words, embeddings, or both.

    Fused scores are sums of the reciprocal ranks in the two lists. `embedder` is required for dense and
    fused retrieval.
    """

    def __init__(
        self, chunks: Sequence[Chunk], mode: Mode = "lexical", embedder: Embedder | None = None
    ) -> None:
        texts = Column(chunks, "text")
        self._lexical = Lexical.of(texts) if mode != "dense" and chunks else None
        self._dense = None
        if mode != "lexical" and chunks:
            assert embedder is not None, "dense retrieval needs an embedder"
            self._dense = Dense(_index_vectors(texts, embedder), embedder)

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


def _index_vectors(texts: Sequence[str], embedder: Embedder) -> Any:
    """Embed texts and index their vectors: in memory, or on disk if there are many."""
    if len(texts) <= EXACT_UP_TO:
        return exact_index(embedder.embed(texts))
    vectors = DiskArray("float16", embedder.dimension)
    for start in range(0, len(texts), BLOCK):
        vectors.extend(embedder.embed(texts[start : start + BLOCK]))
    return Refined(compressed_index(vectors), vectors)
