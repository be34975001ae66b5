"""Store an index in a folder: index.faiss, chunks.jsonl, and a manifest.json with the hashes of all files.

A large one, which is searched on disk, has more: the vectors themselves, float16 of shape (chunks,
dimensions), where the chunks start in their file, int64 of shape (chunks + 1,), and the arrays of lexical
retrieval.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..choices import Mode
from ..errors import UserError
from ..files import describe_file, hash_samples, read_jsonl
from ..on_disk import RowFile
from ..records import Chunk
from .weigh_words import Weights

if TYPE_CHECKING:
    import numpy as np

VECTORS, CHUNKS, MANIFEST = "index.faiss", "chunks.jsonl", "manifest.json"
# If the sentences are indexed, too: their vectors in the order of the chunks, float16 of shape (sentences,
# dimensions), and where those of each chunk begin, int64 of shape (chunks + 1,). Both in NumPy's format.
SENTENCES, SENTENCE_STARTS = "sentences.npy", "sentence_starts.npy"
EXACT_VECTORS, CHUNK_STARTS = "vectors.npy", "chunk_starts.npy"
LEXICAL_WORDS = "lexical_words.txt"
LEXICAL = {name: f"lexical_{name}.npy" for name in Weights._fields if name != "words"}
OPTIONAL = {SENTENCES, SENTENCE_STARTS, EXACT_VECTORS, CHUNK_STARTS, LEXICAL_WORDS, *LEXICAL.values()}
VERSION = 1
_LARGE = 64 * 1024**2  # bytes, from which only samples of a file are verified when it is opened


class Point(TypedDict):
    """What a threshold would do."""

    threshold: float
    refused_wrongly: float  # share of the answerable questions
    refused_rightly: float  # share of the unanswerable ones


class Calibration(TypedDict):
    """A logistic model of the evidence, and the probability below which a question is refused.

    All shares are of questions that the model was not fitted on: those of the other folds.
    """

    weights: dict[str, float]  # by feature
    intercept: float
    threshold: float
    at_most: float  # the share of the answerable questions that may be refused, as it was asked for
    answerable: int
    unanswerable: int
    auroc: float
    refused_wrongly: float
    refused_rightly: float
    curve: list[Point]
    questions: str  # name of the file
    k: int
    mode: Mode


class _Read(TypedDict, total=False):
    documents: list[dict[str, Any]]  # account of the characters of each file, if documents were indexed
    answerability: Calibration  # when to refuse, if `calibrate` was run


class IndexManifest(_Read):
    """Contents of an index; a changed model or file no longer matches it."""

    index_version: int
    model: str  # that made the vectors: the default's name, a name or path, or CONNECTION:MODEL or URL:MODEL
    dimensions: int
    kind: Literal["exact", "ivf", "ivfpq"]  # ivf: of earlier versions; ivfpq: searched on disk
    chunks: int
    sources: int
    cut: int  # chunks longer than the model's window, of which only the beginning is embedded
    changes: dict[str, int]  # of the last build: chunks embedded, kept, removed, repeated
    files: dict[str, dict[str, Any]]  # file name: bytes, sha256


def read_manifest(folder: Path) -> IndexManifest | None:
    """Read the manifest of an index; return None if the folder holds no part of one.

    Raises UserError if the folder holds something else, which must not be overwritten.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if (folder / VECTORS).exists() or (folder / CHUNKS).exists():
            raise UserError(
                f"{folder} has other files of an index but no {MANIFEST}: choose another folder"
            ) from None
        return None
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read: remove {folder} and build the index again") from None
    if not isinstance(manifest, dict) or "index_version" not in manifest:
        raise UserError(f"{folder} holds something other than an index: choose another folder")
    if manifest["index_version"] != VERSION or not IndexManifest.__required_keys__ <= manifest.keys():
        raise UserError(
            f"the index in {folder} was written by another version: remove it and build the index again"
        )
    return IndexManifest(**manifest)  # type: ignore[typeddict-item]


def locate_file(folder: Path, manifest: IndexManifest, name: str) -> Path:
    """Return the path of a file listed in the manifest, verifying its content.

    It is NAME, or NAME.new if a build was interrupted after its manifest was in place. Raises
    UserError if neither has the size and hash in the manifest.
    """
    expected = manifest["files"][name]
    for path in (folder / name, folder / f"{name}.new"):
        if path.is_file() and path.stat().st_size == expected["bytes"] and _is_as(path, expected):
            return path
    problem = "is damaged or does not belong to this index" if (folder / name).exists() else "is missing"
    raise UserError(f"{folder / name} {problem}: remove {folder} and build the index again")


def _is_as(path: Path, expected: Mapping[str, Any]) -> bool:
    """Return whether a file of the right size has the expected content; of a large one, samples are read."""
    if "samples_sha256" in expected:
        return hash_samples(path) == expected["samples_sha256"]
    return describe_file(path) == expected


def replace_index(
    folder: Path, manifest: IndexManifest, writers: Mapping[str, Callable[[Path], None]]
) -> None:
    """Replace an index by a new one; if interrupted at any point, one of the two is complete.

    The files are written beside the old ones, and replacing the manifest, which has their hashes, is the
    one atomic step that switches over. Each of `writers` writes one file, to the path it is given.
    """
    for name, write in writers.items():
        path = folder / f"{name}.new"
        write(path)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        manifest["files"][name] = describe_file(path)
        if manifest["files"][name]["bytes"] >= _LARGE:
            manifest["files"][name]["samples_sha256"] = hash_samples(path)
    _write_manifest(folder, manifest)
    settle(folder, manifest)


def update_manifest(folder: Path, *, answerability: Calibration) -> None:
    """Add to the manifest of an index when to refuse. Raises UserError if there is no index."""
    manifest = read_manifest(folder)
    if manifest is None:
        raise UserError(f"there is no index in {folder}")
    manifest["answerability"] = answerability
    _write_manifest(folder, manifest)


def read_calibration(folder: Path) -> Calibration:
    """Return when the questions of an index are refused. Raises UserError if that was not fitted."""
    manifest = read_manifest(folder)
    if manifest is None or "answerability" not in manifest:
        raise UserError(f"{folder} is no index with a threshold: run `calibrate` for it first")
    return manifest["answerability"]


def _write_manifest(folder: Path, manifest: IndexManifest) -> None:
    staging = folder / f"{MANIFEST}.new"
    with staging.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(staging, folder / MANIFEST)


def settle(folder: Path, manifest: IndexManifest) -> None:
    """Finish an interrupted build: rename its files to those of the manifest, remove leftover .new files."""
    for name in manifest["files"]:
        path = locate_file(folder, manifest, name)
        if path.name != name:
            os.replace(path, folder / name)
    for name in (*manifest["files"], MANIFEST):
        (folder / f"{name}.new").unlink(missing_ok=True)
    for name in OPTIONAL - manifest["files"].keys():
        (folder / name).unlink(missing_ok=True)


def open_chunks(folder: Path, manifest: IndexManifest) -> Sequence[Chunk]:
    """Open the chunks of an index, which are sanitized already; those of a large one stay on disk."""
    path = locate_file(folder, manifest, CHUNKS)
    if CHUNK_STARTS in manifest["files"]:
        return RowFile(path, load_array(folder, manifest, CHUNK_STARTS))
    return [Chunk(**row) for _, row in read_jsonl(path)]  # type: ignore[typeddict-item]


def load_array(folder: Path, manifest: IndexManifest, name: str) -> np.ndarray:
    """Map an array of an index into memory."""
    import numpy as np

    return np.load(locate_file(folder, manifest, name), mmap_mode="r", allow_pickle=False)


def write_array(path: Path, blocks: Iterable[np.ndarray], shape: Sequence[int], dtype: str) -> None:
    """Write an array in NumPy's format, block by block."""
    import numpy as np

    descr = np.lib.format.dtype_to_descr(np.dtype(dtype))
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": descr, "fortran_order": False, "shape": tuple(shape)}
        )
        for block in blocks:
            file.write(block.astype(dtype, copy=False).tobytes())


def read_sentences(folder: Path, manifest: IndexManifest) -> tuple[np.ndarray, np.ndarray] | None:
    """Map the sentences' vectors into memory and read where those of each chunk start; None without them."""
    if SENTENCES not in manifest["files"]:
        return None
    return load_array(folder, manifest, SENTENCES), load_array(folder, manifest, SENTENCE_STARTS)
