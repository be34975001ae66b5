"""The rows the pipeline passes on: documents, chunks, drafts and RAFT records, each one JSON object."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypedDict

from .errors import UserError
from .safe import make_safe

Kind = Literal["text", "api"]
Origin = Literal["generated", "given", "drill"]  # asked by the model, by a person, or made by rule


class Document(TypedDict):
    """One source read whole: its plain text and where each page starts in it."""

    source: str  # path below the folder the user named, with forward slashes
    title: str
    text: str  # already made safe, see safe.py
    page_starts: list[int]  # offset of page i + 1 in text; empty where the format has no pages
    kind: Kind


class Chunk(TypedDict):
    """One passage of a document: what a question is asked about and what a retriever returns."""

    id: str  # from content: the same text of the same source gives the same id
    text: str
    source: str
    title: str
    page: int | None  # 1-based page on which the chunk starts
    start: int  # text == document text[start:end]
    end: int
    tokens: int
    kind: Kind


class _Hints(TypedDict, total=False):
    expected: str  # the answer the user gave, or the one asked for with the question
    target: str  # the sentence the question was asked about
    count: int  # rows a refusal stands for, where it is more than one


class Draft(_Hints):
    """One question with its answer, before and after the checks."""

    question: str
    chunk_id: str
    cot_answer: str  # as the model wrote it, until it has passed the checks: then in its canonical form
    finish_reason: str  # of the reply that cot_answer is
    final_answer: str
    reason: str  # why it was refused; empty when it passed every check
    failed: bool  # refused because the endpoint gave no answer: running again may still get it
    origin: Origin
    model: str  # that wrote the answer
    prompt_hash: str  # of the prompts it was asked with


def make_chunk(text: str, *, title: str, source: str, page: int | None, kind: Kind, id: str = "") -> Chunk:
    """Make a chunk that stands by itself, outside of any document; its text is made safe."""
    text = make_safe(text)
    return {
        "id": id or content_id(source, text),
        "text": text,
        "source": source,
        "title": make_safe(title),
        "page": page,
        "start": 0,
        "end": len(text),
        "tokens": 0,
        "kind": kind,
    }


def new_draft(question: str, chunk_id: str, *, origin: Origin = "generated") -> Draft:
    """Begin a draft: a question about a chunk, without an answer yet."""
    return {
        "question": question,
        "chunk_id": chunk_id,
        "cot_answer": "",
        "finish_reason": "",
        "final_answer": "",
        "reason": "",
        "failed": False,
        "origin": origin,
        "model": "",
        "prompt_hash": "",
    }


def read_chunks(path: Path) -> Iterator[Chunk]:
    """Read a chunks.jsonl one by one, made safe again in case it came from elsewhere.

    Raises UserError naming the line that is no chunk.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                try:
                    chunk: Chunk = json.loads(line)
                    chunk["text"], chunk["title"] = make_safe(chunk["text"]), make_safe(chunk["title"])
                    chunk = {**chunk, "id": chunk["id"], "source": chunk["source"], "page": chunk.get("page")}
                except (ValueError, KeyError, TypeError):
                    raise UserError(
                        f"{path}, line {number}: not a chunk; `generate` writes such a file"
                    ) from None
                yield chunk
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None


def content_id(*parts: object) -> str:
    """Derive a stable 16-digit hexadecimal id from the parts.

    Any change of a part changes the id; the boundary between parts counts.
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8"))
    return digest.hexdigest()[:16]
