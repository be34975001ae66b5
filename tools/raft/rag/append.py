"""Add documents to those of an index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from ..on_disk import Column
from ..records import Chunk
from .index_store import IndexManifest, open_chunks, settle


class Appended(NamedTuple):
    """What an index is to hold after an addition."""

    chunks: Iterator[Chunk]
    documents: list[dict[str, Any]]  # the accounts of the files
    replaced: list[str]  # documents that are in the index and are given anew


def append_chunks(
    folder: Path, manifest: IndexManifest, chunks: Sequence[Chunk], documents: Sequence[dict[str, Any]] = ()
) -> Appended:
    """Return the chunks of an index with new ones after them, to be passed to `build_index`.

    A document of the same name as a new one is replaced by it: its chunks are left out.
    """
    settle(folder, manifest)
    before = open_chunks(folder, manifest)
    given = set(map(_document, Column(chunks, "source")))
    kept = (chunk for chunk in before if _document(chunk["source"]) not in given)
    replaced = sorted(given.intersection(map(_document, Column(before, "source"))))
    accounts = [row for row in manifest.get("documents", ()) if _document(row["source"]) not in given]
    return Appended(chain(kept, chunks), [*accounts, *documents], replaced)


def _document(source: str) -> str:
    """Return the file of a source, which may be a row of it."""
    return source.partition("#")[0]
