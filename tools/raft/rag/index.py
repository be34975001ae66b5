"""Index chunks for retrieval: build the index in a folder, open it, search it by words and by embeddings."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ..choices import Mode
from ..errors import UserError
from ..files import read_jsonl, write_jsonl
from ..models.embed import Embedder
from ..models.embed_endpoint import open_embedder
from ..models.endpoint import Lookup
from ..records import Chunk
from .index_store import (
    CHUNKS,
    VECTORS,
    VERSION,
    IndexManifest,
    Journal,
    locate_file,
    read_manifest,
    replace_index,
    settle,
)
from .search import Dense, Lexical, exact_index, rank

if TYPE_CHECKING:
    import numpy as np

# Up to this many vectors a query is compared with all of them: 5 ms at 384 dimensions on one core. Beyond,
# an inverted file compares it only with those in the nearest lists.
EXACT_UP_TO = 50_000
PROBED = 1 / 16  # share of the lists that a query is compared with


class _Focused(TypedDict, total=False):
    focus: str  # the sentences of the text that matter for the question, if it was cut to them


class Hit(_Focused):
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
        self, chunks: Sequence[Chunk], vectors: Any, embedder: Embedder, manifest: IndexManifest
    ) -> None:
        self.chunks = chunks
        self.manifest = manifest
        self.dense = Dense(vectors, embedder)
        self._lexical: Lexical | None = None
        self._lock = threading.Lock()

    @property
    def lexical(self) -> Lexical:
        """Return BM25 over the chunks, built on first use: 12 s for 100,000 chunks of 80 words."""
        with self._lock:
            if self._lexical is None:
                self._lexical = Lexical([chunk["text"] for chunk in self.chunks])
            return self._lexical

    @property
    def embedder(self) -> Embedder:
        """Return the embedding model of the index."""
        return self.dense.embedder

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
    chunks = _read_chunks(locate_file(folder, manifest, CHUNKS))
    vectors = faiss.read_index(str(locate_file(folder, manifest, VECTORS)))
    if (vectors.ntotal, vectors.d) != (len(chunks), manifest["dimensions"]):
        raise UserError(
            f"{folder}: {len(chunks)} chunks, {vectors.ntotal} vectors and the manifest's "
            f"{manifest['dimensions']} dimensions do not match: remove it and build the index again"
        )
    embedder = open_embedder(manifest["model"], lookup=lookup)
    return Index(chunks, vectors, embedder, manifest)


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
    return {chunk["id"]: chunk["text"] for chunk in _read_chunks(locate_file(folder, manifest, CHUNKS))}


def _need_manifest(folder: Path) -> IndexManifest:
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"there is no index in {folder}: run `python -m tools index --docs … --out {folder}`")
    return manifest


def build_index(
    chunks: Sequence[Chunk],
    folder: Path,
    embedder: Embedder,
    *,
    documents: Sequence[dict[str, Any]] = (),
    on_batch: Callable[[int, int], None] | None = None,
) -> IndexManifest:
    """Build or update the index of exactly these chunks in `folder`, and return its manifest.

    If the folder holds an index of the same model, only new texts are embedded; an interrupted build is
    resumed. `documents` is the account of the files, for the manifest. `on_batch` is called with the
    number of texts embedded so far and their total. Raises UserError if there is nothing to index or the
    folder holds something other than an index.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    old = read_manifest(folder)
    unique = _unique(chunks)
    if not unique:
        raise UserError("there are no chunks to index")
    keys = {_key(chunk["text"]): chunk["text"] for chunk in unique}
    journal = Journal(folder, embedder.name)
    known: dict[bytes, np.ndarray] = {}
    removed = 0
    if old is not None:
        settle(folder, old)
        before = _read_chunks(folder / CHUNKS)
        removed = len({chunk["id"] for chunk in before} - {chunk["id"] for chunk in unique})
        if old["model"] == embedder.name:
            known = {
                _key(chunk["text"]): row
                for chunk, row in zip(before, _read_vectors(folder / VECTORS), strict=True)
            }
        if before == unique and known:
            journal.remove()
            return {**old, "changes": _changes(0, len(unique), 0, len(chunks) - len(unique))}
    resumed = {key: row for key, row in journal.read() if key in keys and key not in known}
    known |= resumed
    missing = [key for key in keys if key not in known]

    done = 0
    fresh: dict[bytes, np.ndarray] = {}
    for positions, batch in embedder.batches([keys[key] for key in missing]) if missing else ():
        if not done:
            journal.begin(resumed, batch.shape[1])
        batch_keys = [missing[position] for position in positions]
        journal.add(batch_keys, batch)
        fresh |= dict(zip(batch_keys, batch, strict=True))
        done += len(positions)
        if on_batch:
            on_batch(done, len(missing))
    known |= fresh
    sizes = {len(row) for row in known.values()}
    if len(sizes) != 1:
        raise UserError(
            f"{embedder.name} now returns vectors of a different length than before: "
            f"remove {folder} and build the index again"
        )
    matrix = np.stack([known[_key(chunk["text"])] for chunk in unique])
    index = make_index(matrix)
    embedded = sum(_key(chunk["text"]) in fresh for chunk in unique)
    manifest: IndexManifest = {
        "index_version": VERSION,
        "model": embedder.name,
        "dimensions": matrix.shape[1],
        "kind": "exact" if len(unique) <= EXACT_UP_TO else "ivf",
        "chunks": len(unique),
        "sources": len({chunk["source"] for chunk in unique}),
        "cut": sum(chunk.get("tokens", 0) > embedder.window for chunk in unique) if embedder.window else 0,
        "changes": _changes(embedded, len(unique) - embedded, removed, len(chunks) - len(unique)),
        "files": {},
    }
    if documents:
        manifest["documents"] = list(documents)
    writers = {
        VECTORS: lambda path: _write_vectors(index, path),
        CHUNKS: lambda path: write_jsonl(path, unique),
    }
    replace_index(folder, manifest, writers)
    journal.remove()
    return manifest


def make_index(vectors: np.ndarray) -> Any:
    """Build the FAISS index of unit vectors: exact, or an inverted file if there are many.

    Beyond EXACT_UP_TO the n vectors are divided into 4 √n lists, of which a query is compared with the
    share PROBED. The same vectors give the same index.
    """
    import faiss

    if len(vectors) <= EXACT_UP_TO:
        return exact_index(vectors)
    dimensions = vectors.shape[1]
    lists = int(4 * math.sqrt(len(vectors)))
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    index.cp.max_points_per_centroid = 128
    index.train(vectors)
    index.add(vectors)
    index.nprobe = max(1, round(lists * PROBED))
    return index


def _unique(chunks: Sequence[Chunk]) -> list[Chunk]:
    """Drop repeated chunks; raise UserError if two chunks with different texts share an id."""
    seen: dict[str, Chunk] = {}
    for chunk in chunks:
        if seen.setdefault(chunk["id"], chunk)["text"] != chunk["text"]:
            raise UserError(
                f"two chunks with different texts have the id {chunk['id']}: give each its own id"
            )
    return list(seen.values())


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _changes(embedded: int, kept: int, removed: int, repeated: int) -> dict[str, int]:
    return {"embedded": embedded, "kept": kept, "removed": removed, "repeated": repeated}


def _read_chunks(path: Path) -> list[Chunk]:
    """Read chunks that this module wrote, which are sanitized already."""
    return [Chunk(**row) for _, row in read_jsonl(path)]  # type: ignore[typeddict-item]


def _write_vectors(index: Any, path: Path) -> None:
    import faiss

    faiss.write_index(index, str(path))


def _read_vectors(path: Path) -> np.ndarray:
    import faiss

    index = faiss.read_index(str(path))
    return index.reconstruct_n(0, index.ntotal)
