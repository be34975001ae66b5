"""Open an index, and search it by words and by embeddings."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..choices import Mode
from ..errors import UserError
from ..models.embed import Embedder
from ..models.embed_endpoint import open_embedder
from ..models.endpoint import Lookup
from ..on_disk import Column
from ..records import Chunk
from .index_store import (
    CHUNKS,
    VECTORS,
    IndexManifest,
    locate_file,
    read_indexed_chunks,
    read_manifest,
    read_sentences,
)
from .lexical import Lexical
from .search import Dense, rank
from .sentences import Sentences

if TYPE_CHECKING:
    import numpy as np


class _Judged(TypedDict, total=False):
    focus: str  # the sentences of the text that matter for the question, if it was cut to them
    evidence: float  # the probability that all documents of the question together hold an answer, if rated
    needed: float  # below which the question is refused


class Hit(_Judged):
    """One retrieved chunk."""

    rank: int  # from 1
    score: float  # BM25, inner product, or sum of reciprocal ranks: comparable within one list only
    id: str  # of the chunk
    text: str
    title: str
    source: str
    page: int | None


class Index:
    """Searchable chunks, as returned by `open_index`; safe to use from many threads."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: Any,
        embedder: Embedder,
        manifest: IndexManifest,
        sentence_vectors: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self.chunks = chunks
        self._sentence_vectors = sentence_vectors
        self.manifest = manifest
        self.dense = Dense(vectors, embedder)
        self._lexical: Lexical | None = None
        self._lock = threading.Lock()

    @property
    def lexical(self) -> Lexical:
        """Return BM25 over the chunks, built on first use: 12 s for 100,000 chunks of 80 words."""
        with self._lock:
            if self._lexical is None:
                self._lexical = Lexical(Column(self.chunks, "text"))
            return self._lexical

    @property
    def embedder(self) -> Embedder:
        """Return the embedding model of the index."""
        return self.dense.embedder

    @cached_property
    def sentences(self) -> Sentences:
        """Return the sentences of the chunks, for focus and evidence."""
        if self._sentence_vectors is None:
            return Sentences(self.embedder)
        matrix, starts = self._sentence_vectors
        positions = {chunk["text"]: position for position, chunk in enumerate(self.chunks)}

        def stored(text: str) -> np.ndarray | None:
            position = positions.get(text)
            if position is None:
                return None
            return matrix[starts[position] : starts[position + 1]].astype("float32")

        return Sentences(self.embedder, stored)

    def prepare(self, mode: Mode = "fused") -> None:
        """Load what a search needs, so that the first one does not wait for it."""
        if mode != "dense":
            self.lexical  # noqa: B018  built by being read
        if mode != "lexical":
            self.dense.load()

    def search(self, queries: Sequence[str], k: int, mode: Mode = "fused") -> list[list[Hit]]:
        """Return the k best chunks for each query, best first; fewer if fewer are found.

        BM25 is built for the first search that is not dense, and the embedding model is loaded for the
        first that is not lexical. Many queries in one call are faster than one call for each. Raises
        UserError for an unknown mode.
        """
        if mode not in ("lexical", "dense", "fused"):
            raise UserError(f"unknown retrieval mode {mode!r}: choose lexical, dense or fused")
        found = rank(
            queries,
            k,
            self.lexical if mode != "dense" else None,
            self.dense if mode != "lexical" else None,
        )
        return [
            [self._hit(number, position, score) for number, (position, score) in enumerate(ranking, start=1)]
            for ranking in found
        ]

    def _hit(self, number: int, position: int, score: float) -> Hit:
        chunk = self.chunks[position]
        return {
            "rank": number,
            "score": score,
            "id": chunk["id"],
            "text": chunk["text"],
            "title": chunk["title"],
            "source": chunk["source"],
            "page": chunk["page"],
        }


def open_index(folder: Path, *, lookup: Lookup | None = None) -> Index:
    """Open an index written by `build_index`, verifying its hashes.

    `lookup` resolves promptflow's own connections, as in `resolve_endpoint`. Raises UserError if a file
    is missing, damaged, or does not belong to this index.
    """
    import faiss

    manifest = _need_manifest(folder)
    chunks = read_indexed_chunks(locate_file(folder, manifest, CHUNKS))
    vectors = faiss.read_index(str(locate_file(folder, manifest, VECTORS)))
    if (vectors.ntotal, vectors.d) != (len(chunks), manifest["dimensions"]):
        raise UserError(
            f"{folder}: {len(chunks)} chunks, {vectors.ntotal} vectors and the manifest's "
            f"{manifest['dimensions']} dimensions do not match: remove it and build the index again"
        )
    embedder = open_embedder(manifest["model"], lookup=lookup)
    return Index(chunks, vectors, embedder, manifest, read_sentences(folder, manifest))


def look_up_texts(documents: Sequence[Mapping[str, Any]], folder: Path) -> list[dict[str, Any]]:
    """Return the documents, each with its text: its own, or that of the chunk with its id in an index.

    Raises UserError if there is no index in the folder, or no such chunk in it.
    """
    found = []
    for document in documents:
        text = document.get("text")
        if text is None:
            text = _texts(folder).get(str(document.get("id")))
        if text is None:
            raise UserError(
                f"the index in {folder} has no chunk {document.get('id')}: use the one of the answers"
            )
        found.append({**document, "text": text})
    return found


@lru_cache(maxsize=2)
def _texts(folder: Path) -> dict[str, str]:
    manifest = _need_manifest(folder)
    return {
        chunk["id"]: chunk["text"] for chunk in read_indexed_chunks(locate_file(folder, manifest, CHUNKS))
    }


def _need_manifest(folder: Path) -> IndexManifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"there is no index in {folder}: run `python -m tools index --docs … --out {folder}`")
    return manifest
