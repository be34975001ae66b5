"""Keep an index in a folder: index.faiss, chunks.jsonl and the manifest.json that vouches for both."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ..errors import UserError
from ..files import describe_file, replacing

if TYPE_CHECKING:
    import numpy as np

VECTORS, CHUNKS, MANIFEST = "index.faiss", "chunks.jsonl", "manifest.json"
VERSION = 1


class IndexManifest(TypedDict):
    """What an index holds. A change of the model or of a file shows here."""

    index_version: int
    model: str  # that made the vectors: the default's name, a name or path, or CONNECTION:MODEL or URL:MODEL
    dimensions: int
    kind: Literal["exact", "ivf"]
    chunks: int
    sources: int
    cut: int  # chunks longer than the model's window, embedded by their beginning
    changes: dict[str, int]  # of the last build: chunks embedded, kept, removed, repeated
    files: dict[str, dict[str, Any]]  # name: bytes, sha256


def read_manifest(folder: Path) -> IndexManifest | None:
    """Read the manifest of an index; None where the folder holds nothing of the kind.

    Raises UserError where it holds something else, so that it is not overwritten.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if (folder / VECTORS).exists() or (folder / CHUNKS).exists():
            raise UserError(
                f"{folder} has no {MANIFEST} and yet other files of an index: give another folder"
            ) from None
        return None
    except (OSError, ValueError):
        raise UserError(f"{path} cannot be read: remove {folder} and build the index again") from None
    if not isinstance(manifest, dict) or "index_version" not in manifest:
        raise UserError(f"{folder} holds something else than an index: give a folder of its own")
    if manifest["index_version"] != VERSION or not IndexManifest.__annotations__.keys() <= manifest.keys():
        raise UserError(f"{folder} was written by another version: remove it and build the index again")
    return IndexManifest(**manifest)  # type: ignore[typeddict-item]


def locate_file(folder: Path, manifest: IndexManifest, name: str) -> Path:
    """Give the file that the manifest means, its content checked.

    It is NAME, or NAME.new where a build was stopped after its manifest was in place. Raises
    UserError where neither is what was written.
    """
    wanted = manifest["files"][name]
    for path in (folder / name, folder / f"{name}.new"):
        if path.is_file() and path.stat().st_size == wanted["bytes"] and describe_file(path) == wanted:
            return path
    what = "is damaged, or not of this index" if (folder / name).exists() else "is missing"
    raise UserError(f"{folder / name} {what}: remove {folder} and build the index again")


def replace_index(
    folder: Path, manifest: IndexManifest, writers: Mapping[str, Callable[[Path], None]]
) -> None:
    """Put a new index in the place of an old one; stopped at any point, one of the two is whole.

    The files are written beside the old ones, and the manifest that names their hashes decides:
    replacing it is one step. `writers` write one file each, to the path they are given.
    """
    for name, write in writers.items():
        path = folder / f"{name}.new"
        write(path)
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        manifest["files"][name] = describe_file(path)
    part = folder / f"{MANIFEST}.new"
    with part.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, folder / MANIFEST)
    settle(folder, manifest)


def settle(folder: Path, manifest: IndexManifest) -> None:
    """Give the files of the manifest their names, where a build was stopped before it could.

    What a build left that was stopped earlier goes.
    """
    for name in manifest["files"]:
        path = locate_file(folder, manifest, name)
        if path.name != name:
            os.replace(path, folder / name)
    for name in (*manifest["files"], MANIFEST):
        (folder / f"{name}.new").unlink(missing_ok=True)


class Journal:
    """Vectors of a build that is under way, so that one that was stopped goes on where it was.

    A line that names the model, then records of a 16-byte key and a vector, all of the same size.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self._path = folder / "embedded.part"
        self._head = json.dumps({"model": model}, ensure_ascii=False).encode("utf-8")

    def read(self) -> Iterator[tuple[bytes, np.ndarray]]:
        """Give what was written; nothing where another model wrote it."""
        import numpy as np

        try:
            with self._path.open("rb") as file:
                head, _, size = file.readline().rstrip(b"\n").rpartition(b" ")
                if head != self._head:
                    return
                # What a killed build left of its last record is not whole.
                while len(record := file.read(16 + 4 * int(size))) == 16 + 4 * int(size):
                    yield record[:16], np.frombuffer(record, dtype="<f4", offset=16)
        except FileNotFoundError:
            return

    def begin(self, kept: Mapping[bytes, np.ndarray], dimensions: int) -> None:
        """Start the file anew with the vectors that are of use."""
        with replacing(self._path) as staging, staging.open("wb") as file:
            file.write(self._head + f" {dimensions}\n".encode())
            for key, vector in kept.items():
                file.write(key + vector.astype("<f4").tobytes())
        self._file = self._path.open("ab")

    def add(self, keys: list[bytes], vectors: np.ndarray) -> None:
        """Write vectors down, at once."""
        self._file.write(
            b"".join(key + row.astype("<f4").tobytes() for key, row in zip(keys, vectors, strict=True))
        )
        self._file.flush()

    def remove(self) -> None:
        """Remove the file: its vectors stand in the index."""
        if hasattr(self, "_file"):
            self._file.close()
        self._path.unlink(missing_ok=True)
