"""Index chunks for retrieval: build a folder once, open it anywhere, search it by words and by meaning."""

from __future__ import annotations

import hashlib
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

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
from .search import Dense, Lexical, Mode, exact_index, rank

if TYPE_CHECKING:
    import numpy as np

# Up to here a query is compared with every vector: 5 ms at 384 dimensions on one core. Beyond, an
# inverted file looks at the nearest of its lists only.
EXACT_UP_TO = 50_000
PROBED = 1 / 16  # share of the lists that a query looks at


class Hit(TypedDict):
    """One chunk that was found."""

    rank: int  # from 1
    score: float  # BM25, inner product, or sum of reciprocal ranks: compare within one list only
    id: str  # of the chunk
    text: str
    title: str
    source: str
    page: int | None


class Index:
    """Chunks ready to be searched; what `open_index` gives. One may serve many threads."""

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
        """Give BM25 over the chunks, built when it is first asked for: 12 s for 100,000 of 80 words."""
        with self._lock:
            if self._lexical is None:
                self._lexical = Lexical([chunk["text"] for chunk in self.chunks])
            return self._lexical

    def search(self, queries: Sequence[str], k: int, mode: Mode = "fused") -> list[list[Hit]]:
        """Find for each query its k best chunks, best first; fewer where fewer are found.

        The words are counted with the first query that is not dense, the embedding model is loaded
        with the first that is not lexical. Many queries at
        once are faster than one after another. Raises UserError for a mode there is not.
        """
        if mode not in ("lexical", "dense", "fused"):
            raise UserError(f"there is no retrieval mode {mode!r}: take lexical, dense or fused")
        found = rank(
            queries,
            k,
            self.lexical if mode != "dense" else None,
            self.dense if mode != "lexical" else None,
        )
        return [
            [self._hit(place, position, score) for place, (position, score) in enumerate(ranking, start=1)]
            for ranking in found
        ]

    def _hit(self, place: int, position: int, score: float) -> Hit:
        chunk = self.chunks[position]
        return {
            "rank": place,
            "score": score,
            "id": chunk["id"],
            "text": chunk["text"],
            "title": chunk["title"],
            "source": chunk["source"],
            "page": chunk["page"],
        }


def open_index(folder: Path, *, lookup: Lookup | None = None) -> Index:
    """Open an index that `build_index` wrote; its hashes are checked.

    `lookup` knows promptflow's own connections, as in `resolve_endpoint`. Raises UserError where
    a file is missing, damaged, or does not belong to the others.
    """
    import faiss

    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"there is no index in {folder}: `python -m tools index --docs … --out {folder}`")
    chunks = _read_chunks(locate_file(folder, manifest, CHUNKS))
    vectors = faiss.read_index(str(locate_file(folder, manifest, VECTORS)))
    if (vectors.ntotal, vectors.d) != (len(chunks), manifest["dimensions"]):
        raise UserError(
            f"{folder}: {len(chunks)} chunks, {vectors.ntotal} vectors and the manifest's "
            f"{manifest['dimensions']} dimensions do not go together: remove it and build the index again"
        )
    embedder = open_embedder(manifest["model"], lookup=lookup)
    return Index(chunks, vectors, embedder, manifest)


def build_index(
    chunks: Sequence[Chunk],
    folder: Path,
    embedder: Embedder,
    *,
    on_batch: Callable[[int, int], None] | None = None,
) -> IndexManifest:
    """Make `folder` the index of exactly these chunks, and give its manifest.

    Where it holds an index of the same model, only texts that are new are embedded; a build that
    was stopped goes on where it was. `on_batch` is called with the texts embedded so far and their
    number. Raises UserError where there is nothing to index or the folder holds something else.
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
                for chunk, row in zip(before, _vectors_of(folder / VECTORS), strict=True)
            }
        if before == unique and known:
            journal.remove()
            return {**old, "changes": _changes(0, len(unique), 0, len(chunks) - len(unique))}
    missing = [key for key in keys if key not in known]
    resumed = {key: row for key, row in journal.read() if key in keys and key not in known}
    missing = [key for key in missing if key not in resumed]
    known |= resumed

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
            f"{embedder.name} now gives vectors of another length than before: "
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
    writers = {
        VECTORS: lambda path: _write_vectors(index, path),
        CHUNKS: lambda path: write_jsonl(path, unique),
    }
    replace_index(folder, manifest, writers)
    journal.remove()
    return manifest


def make_index(vectors: np.ndarray) -> Any:
    """Make the FAISS index for vectors of length 1: exact, or an inverted file where there are many.

    Beyond EXACT_UP_TO the vectors are in 4 √n lists, of which a query looks at PROBED. The same
    vectors give the same index.
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
    """Drop chunks that come twice; one id with two texts is a mistake."""
    seen: dict[str, Chunk] = {}
    for chunk in chunks:
        if seen.setdefault(chunk["id"], chunk)["text"] != chunk["text"]:
            raise UserError(f"two chunks with different texts have the id {chunk['id']}: make the ids differ")
    return list(seen.values())


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def _changes(embedded: int, kept: int, removed: int, repeated: int) -> dict[str, int]:
    return {"embedded": embedded, "kept": kept, "removed": removed, "repeated": repeated}


def _read_chunks(path: Path) -> list[Chunk]:
    """Read chunks that this module wrote: they were sanitized before."""
    return [Chunk(**row) for _, row in read_jsonl(path)]  # type: ignore[typeddict-item]


def _write_vectors(index: Any, path: Path) -> None:
    import faiss

    faiss.write_index(index, str(path))


def _vectors_of(path: Path) -> np.ndarray:
    import faiss

    index = faiss.read_index(str(path))
    return index.reconstruct_n(0, index.ntotal)
