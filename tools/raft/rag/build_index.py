"""Build or update the index of chunks in a folder; an interrupted build is resumed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import write_jsonl
from ..models.embed import Embedder
from ..on_disk import Column, DiskArray, DiskMap, RowFile
from ..records import Chunk, content_id
from ..text.sentences import sentence_spans
from . import vectors as search_vectors
from .index_store import (
    CHUNK_STARTS,
    CHUNKS,
    EXACT_VECTORS,
    LEXICAL,
    LEXICAL_WORDS,
    SENTENCE_STARTS,
    SENTENCES,
    VECTORS,
    VERSION,
    IndexManifest,
    load_array,
    open_chunks,
    read_manifest,
    read_sentences,
    replace_index,
    settle,
    write_array,
)
from .known_vectors import KnownVectors
from .weigh_words import weigh_words

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 65_536  # values of an array in memory


def build_index(
    chunks: Iterable[Chunk],
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
    too; by default if the index in the folder has them. `on_batch` is called with the number of texts
    embedded so far and their total. Memory hardly grows with the chunks. Raises UserError if there is nothing
    to index or the folder holds something other than an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    old = read_manifest(folder)
    unique, ids, repeated = _unique(chunks)
    if not unique:
        raise UserError("there are no chunks to index")
    if sentences is None:
        sentences = old is not None and SENTENCES in old["files"]
    known = KnownVectors(folder, embedder.name)
    before: Sequence[Chunk] = []
    same = False
    if old is not None:
        settle(folder, old)
        before = open_chunks(folder, old)
        same = len(before) == len(unique) and all(map(eq, before, unique))
        if old["model"] == embedder.name:
            if same and sentences == (SENTENCES in old["files"]):
                known.remove_journal()
                return {**old, "changes": _changes(0, len(unique), 0, repeated)}
            _register(known, folder, old, before)
    new = known.embed(lambda: _texts(unique, sentences), embedder, on_batch)
    embedded = sum(text in new for text in Column(unique, "text"))
    removed = sum(chunk["id"] not in ids for chunk in before)
    small = len(unique) <= search_vectors.EXACT_UP_TO
    manifest: IndexManifest = {
        "index_version": VERSION,
        "model": embedder.name,
        "dimensions": known.dimensions,
        "kind": "exact" if small else "ivfpq",
        "chunks": len(unique),
        "sources": sum(map(DiskMap().add, Column(unique, "source"))),
        "cut": sum(chunk.get("tokens", 0) > embedder.window for chunk in unique) if embedder.window else 0,
        "changes": _changes(embedded, len(unique) - embedded, removed, repeated),
        "files": {},
    }
    if documents:
        manifest["documents"] = list(documents)
    if old is not None and "answerability" in old and same:
        manifest["answerability"] = old["answerability"]  # fitted for these chunks
    writers = _small_files(unique, known) if small else _large_files(folder, unique, known)
    if sentences:
        writers |= _sentence_files(unique, known)
    replace_index(folder, manifest, writers)
    known.remove_journal()
    return manifest


Writers = dict[str, Callable[[Path], None]]  # of files, by name


def _small_files(chunks: RowFile, known: KnownVectors) -> Writers:
    """Return how to write an index that is searched in memory."""

    def write_vectors(path: Path) -> None:
        _write_faiss(search_vectors.exact_index(known.look_up(Column(chunks, "text"))), path)

    return {VECTORS: write_vectors, CHUNKS: lambda path: write_jsonl(path, chunks)}


def _large_files(folder: Path, chunks: RowFile, known: KnownVectors) -> Writers:
    """Return how to write an index that is searched on disk, in an order in which each finds the others."""
    import numpy as np

    def write_exact(path: Path) -> None:
        shape = len(chunks), known.dimensions
        write_array(path, known.blocks(Column(chunks, "text")), shape, "float16")

    def write_vectors(path: Path) -> None:
        exact = DiskArray.open(folder / f"{EXACT_VECTORS}.new")
        _write_faiss(search_vectors.compressed_index(exact), path)

    weights = weigh_words(Column(chunks, "text"))
    return {
        EXACT_VECTORS: write_exact,
        VECTORS: write_vectors,
        CHUNKS: lambda path: write_jsonl(path, chunks),
        CHUNK_STARTS: partial(_write_list, np.asarray(chunks.starts, dtype=np.int64)),
        LEXICAL_WORDS: partial(_write_lines, weights.words),
        **{LEXICAL[name]: partial(_write_list, getattr(weights, name)) for name in LEXICAL},
    }


def _write_list(values: Any, path: Path) -> None:
    blocks = (values[start : start + _BLOCK] for start in range(0, len(values), _BLOCK))
    write_array(path, blocks, (len(values),), values.dtype)


def _write_lines(lines: Iterable[str], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _sentence_files(chunks: RowFile, known: KnownVectors) -> Writers:
    """Return how to write the vectors of the sentences of the chunks."""
    import numpy as np

    counts = array("Q", (len(list(sentence_spans(text))) for text in Column(chunks, "text")))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def write_sentences(path: Path) -> None:
        shape = int(starts[-1]), known.dimensions
        write_array(path, known.blocks(_sentences(chunks)), shape, "float16")

    return {
        SENTENCES: write_sentences,
        SENTENCE_STARTS: partial(_write_list, starts),
    }


def _unique(chunks: Iterable[Chunk]) -> tuple[RowFile, DiskMap, int]:
    """Return chunks without repeated ones, their ids, and how many were repeated.

    Raises UserError if two chunks with different texts share an id.
    """
    unique, ids, repeated = RowFile(), DiskMap(), 0
    for chunk in chunks:
        text = content_id(chunk["text"])
        before = len(ids)
        if ids.setdefault(chunk["id"], text) != text:
            raise UserError(
                f"two chunks with different texts have the id {chunk['id']}: give each its own id"
            )
        if len(ids) > before:
            unique.append(chunk)
        else:
            repeated += 1
    return unique, ids, repeated


def _texts(chunks: Sequence[Chunk], sentences: bool) -> Iterator[str]:
    """Yield all texts of an index: of the chunks and, if they are stored, of their sentences."""
    yield from Column(chunks, "text")
    if sentences:
        yield from _sentences(chunks)


def _sentences(chunks: Sequence[Chunk]) -> Iterator[str]:
    for text in Column(chunks, "text"):
        yield from (sentence for _, _, sentence in sentence_spans(text))


def _changes(embedded: int, kept: int, removed: int, repeated: int) -> dict[str, int]:
    return {"embedded": embedded, "kept": kept, "removed": removed, "repeated": repeated}


def _register(known: KnownVectors, folder: Path, manifest: IndexManifest, chunks: Sequence[Chunk]) -> None:
    """Make known the vectors of the texts in an index, and of their sentences if it has them."""
    if manifest["kind"] == "ivfpq":
        known.register(Column(chunks, "text"), load_array(folder, manifest, EXACT_VECTORS))
    else:
        known.register(Column(chunks, "text"), _read_vectors(folder / VECTORS))
    stored = read_sentences(folder, manifest)
    if stored is not None:
        known.register(_sentences(chunks), stored[0])


def _read_vectors(path: Path) -> np.ndarray:
    import faiss

    index = faiss.read_index(str(path))
    return index.reconstruct_n(0, index.ntotal)


def _write_faiss(index: Any, path: Path) -> None:
    import faiss

    faiss.write_index(index, str(path))
