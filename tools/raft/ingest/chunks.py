"""Build chunks outside of a document, and read those of a chunks.jsonl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_jsonl
from ..records import Chunk, Kind, content_id
from ..text.sanitize import sanitize


def make_chunk(text: str, *, title: str, source: str, page: int | None, kind: Kind, id: str = "") -> Chunk:
    """Build a chunk that is not cut from a document, and sanitize its text and title."""
    text = sanitize(text)
    return {
        "id": id or content_id(source, text),
        "text": text,
        "source": source,
        "title": sanitize(title),
        "page": page,
        "start": 0,
        "end": len(text),
        "tokens": 0,
        "kind": kind,
    }


def read_chunks(path: Path) -> Iterator[Chunk]:
    """Yield the chunks of a chunks.jsonl, sanitized again because the file may come from elsewhere.

    Raises UserError, with the line number, for a line that is not a chunk.
    """
    want = "not a chunk; use a chunks.jsonl written by `generate`"
    for number, row in read_jsonl(path, want=want):
        text, title = row.get("text"), row.get("title")
        if not (isinstance(text, str) and isinstance(title, str) and {"id", "source"} <= row.keys()):
            raise UserError(f"{path}, line {number}: {want}")
        yield sanitize_chunk(row)


def sanitize_chunk(row: Mapping[str, Any]) -> Chunk:
    """Return the chunk of a row with sanitized text and title; its page may be missing."""
    texts = {name: sanitize(row[name]) for name in ("text", "title")}
    return Chunk(**{**row, **texts, "page": row.get("page")})  # type: ignore[typeddict-item]
