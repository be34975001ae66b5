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
from ..on_disk import Column, DiskArray, Lines
from ..records import Chunk
from .index_store import (
    EXACT_VECTORS,
    LEXICAL,
    LEXICAL_WORDS,
    VECTORS,
    IndexManifest,
    load_array,
    locate_file,
    open_chunks,
    read_manifest,
    read_sentences,
)
from .lexical import Lexical
from .search import Dense, rank
from .sentences import Sentences
from .vectors import open_compressed
from .weigh_words import Weights

if TYPE_CHECKING:
    import numpy as np


_FOUND = 4_096  # texts of the last hits


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


def make_hit(chunk: Chunk, rank: int, score: float) -> Hit:
    """Return a chunk as the hit of this rank, from 1."""
    return {
        "rank": rank,
        "score": score,
        "id": chunk["id"],
        "text": chunk["text"],
        "title": chunk["title"],
        "source": chunk["source"],
        "page": chunk["page"],
    }


class Index:
    """Searchable chunks, as returned by `open_index`; safe to use from many threads."""

    def __init__(
        self,
        chunks: Sequence[Chunk],
        vectors: Any,
        embedder: Embedder,
        manifest: IndexManifest,
        sentence_vectors: tuple[np.ndarray, np.ndarray] | None = None,
        lexical: Lexical | None = None,
    ) -> None:
        self.chunks = chunks
        self._sentence_vectors = sentence_vectors
        self.manifest = manifest
        self.dense = Dense(vectors, embedder)
        self._lexical = lexical
        self._lock = threading.Lock()
        self._found: dict[str, int] = {}  # positions of the texts found lately, if all are not in memory

    @property
    def lexical(self) -> Lexical:
        """Return BM25 over the chunks, built on first use: 12 s for 100,000 chunks of 80 words."""
        with self._lock:
            if self._lexical is None:
                self._lexical = Lexical.of(Column(self.chunks, "text"))
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
        # Of chunks on disk, only those found are looked up: it is their sentences that are asked for.
        in_memory = enumerate(self.chunks) if isinstance(self.chunks, list) else ()
        positions = {chunk["text"]: position for position, chunk in in_memory} or self._found

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
        if not isinstance(self.chunks, list):
            with self._lock:
                self._found[chunk["text"]] = position
                while len(self._found) > _FOUND:
                    del self._found[next(iter(self._found))]
        return make_hit(chunk, number, score)


def open_index(folder: Path, *, lookup: Lookup | None = None) -> Index:
    """Open an index written by `build_index`, verifying its hashes.

    `lookup` resolves promptflow's own connections, as in `resolve_endpoint`. Raises UserError if a file
    is missing, damaged, or does not belong to this index.
    """
    import faiss

    manifest = _need_manifest(folder)
    chunks = open_chunks(folder, manifest)
    file, lexical = locate_file(folder, manifest, VECTORS), None
    vectors: Any
    if manifest["kind"] == "ivfpq":
        vectors = open_compressed(file, DiskArray.open(locate_file(folder, manifest, EXACT_VECTORS)))
        arrays = {name: load_array(folder, manifest, stored) for name, stored in LEXICAL.items()}
        words = Lines(locate_file(folder, manifest, LEXICAL_WORDS))
        lexical = Lexical(Weights(words, **arrays), len(chunks))
    else:
        vectors = faiss.read_index(str(file))
    if (vectors.ntotal, vectors.d) != (len(chunks), manifest["dimensions"]):
        raise UserError(
            f"{folder}: {len(chunks)} chunks, {vectors.ntotal} vectors and the manifest's "
            f"{manifest['dimensions']} dimensions do not match: remove it and build the index again"
        )
    embedder = open_embedder(manifest["model"], lookup=lookup)
    return Index(chunks, vectors, embedder, manifest, read_sentences(folder, manifest), lexical)


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
    return {chunk["id"]: chunk["text"] for chunk in open_chunks(folder, manifest)}


def _need_manifest(folder: Path) -> IndexManifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"there is no index in {folder}: run `python -m tools index --docs … --out {folder}`")
    return manifest
