"""Build or update the index of chunks in a folder; an interrupted build is resumed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import write_jsonl
from ..models.embed import Embedder
from ..records import Chunk
from ..text.sentences import sentence_spans
from .index_store import (
    CHUNKS,
    SENTENCE_STARTS,
    SENTENCES,
    VECTORS,
    VERSION,
    IndexManifest,
    Journal,
    read_indexed_chunks,
    read_manifest,
    read_sentences,
    replace_index,
    settle,
)
from .search import exact_index

if TYPE_CHECKING:
    import numpy as np

# Up to this many vectors a query is compared with all of them: 5 ms at 384 dimensions on one core. Beyond,
# an inverted file compares it only with those in the nearest lists.
EXACT_UP_TO = 50_000
PROBED = 1 / 16  # share of the lists that a query is compared with


def build_index(
    chunks: Sequence[Chunk],
    folder: Path,
    embedder: Embedder,
    *,
    documents: Sequence[dict[str, Any]] = (),
    sentences: bool | None = None,
    on_batch: Callable[[int, int], None] | None = None,
) -> IndexManifest:
    """Build or update the index of exactly these chunks in `folder`, and return its manifest.

    If the folder holds an index of the same model, only new texts are embedded; an interrupted build is
    resumed. `documents` is the account of the files, for the manifest. `sentences` stores their vectors,
    too; by default if the index in the folder has them. `on_batch` is called with the
    number of texts embedded so far and their total. Raises UserError if there is nothing to index or the
    folder holds something other than an index.
    """
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    old = read_manifest(folder)
    unique = _unique(chunks)
    if not unique:
        raise UserError("there are no chunks to index")
    if sentences is None:
        sentences = old is not None and SENTENCES in old["files"]
    texts = [chunk["text"] for chunk in unique]
    if sentences:
        texts += [sentence for text in texts for _, _, sentence in sentence_spans(text)]
    keys = {_key(text): text for text in texts}
    journal = Journal(folder, embedder.name)
    known: dict[bytes, np.ndarray] = {}
    before: list[Chunk] = []
    removed = 0
    if old is not None:
        settle(folder, old)
        before = read_indexed_chunks(folder / CHUNKS)
        removed = len({chunk["id"] for chunk in before} - {chunk["id"] for chunk in unique})
        if old["model"] == embedder.name:
            known = dict(_read_known(folder, old, before))
        if before == unique and known and sentences == (SENTENCES in old["files"]):
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
    if old is not None and "answerability" in old and before == unique:
        manifest["answerability"] = old["answerability"]  # fitted for these chunks
    writers: dict[str, Callable[[Path], None]] = {
        VECTORS: lambda path: _write_vectors(index, path),
        CHUNKS: lambda path: write_jsonl(path, unique),
    }
    if sentences:
        rows = [[known[_key(text)] for _, _, text in sentence_spans(chunk["text"])] for chunk in unique]
        starts = np.cumsum([0, *map(len, rows)])
        halves = np.concatenate([np.zeros((0, matrix.shape[1])), *filter(len, rows)]).astype(np.float16)
        writers[SENTENCES] = lambda path: _write_array(path, halves)
        writers[SENTENCE_STARTS] = lambda path: _write_array(path, starts)
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


def _read_known(
    folder: Path, manifest: IndexManifest, chunks: Sequence[Chunk]
) -> Iterator[tuple[bytes, np.ndarray]]:
    """Yield the keys and vectors of the texts in an index, and of their sentences if it has them."""
    for chunk, vector in zip(chunks, _read_vectors(folder / VECTORS), strict=True):
        yield _key(chunk["text"]), vector
    stored = read_sentences(folder, manifest)
    if stored is not None:
        sentences = (text for chunk in chunks for _, _, text in sentence_spans(chunk["text"]))
        for text, vector in zip(sentences, stored[0], strict=True):
            yield _key(text), vector.astype("float32")


def _read_vectors(path: Path) -> np.ndarray:
    import faiss

    index = faiss.read_index(str(path))
    return index.reconstruct_n(0, index.ntotal)


def _write_vectors(index: Any, path: Path) -> None:
    import faiss

    faiss.write_index(index, str(path))


def _write_array(path: Path, array: np.ndarray) -> None:
    import numpy as np

    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)
