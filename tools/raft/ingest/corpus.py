"""Collect the chunks of a corpus: read every document, split it, leave out what is of no use."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..records import Chunk
from .filter import drop_duplicates, low_content_reason
from .read import Skipped, read_documents
from .split import Chunking, load_tokenizer, split_document


@dataclass
class Corpus:
    """The chunks of some documents, and everything that was left out with its reason."""

    chunks: list[Chunk] = field(default_factory=list)
    rejected: list[dict[str, object]] = field(default_factory=list)  # rows for rejected.jsonl
    documents: int = 0


def collect_chunks(
    paths: Sequence[str | Path],
    *,
    chunk_size: int,
    tokenizer: Path | None = None,
    mode: Chunking = "text",
    strict: bool = False,
    on_document: Callable[[str], None] = lambda source: None,
) -> Corpus:
    """Read and split documents into chunks of at most `chunk_size` tokens.

    Files that cannot be read, chunks without substance and repeated chunks are left out, each with
    its reason. Raises UserError where a path does not exist, where nothing is readable, and with
    `strict` at the first file that is not.
    """
    corpus = Corpus()
    counter = load_tokenizer(tokenizer)
    chunks: list[Chunk] = []
    for document in read_documents(paths, strict=strict):
        if isinstance(document, Skipped):
            corpus.rejected.append(_rejection("document", document.reason, document.source))
            on_document(document.source)
            continue
        corpus.documents += 1
        on_document(document["source"])
        for chunk in split_document(document, chunk_size=chunk_size, tokenizer=counter, mode=mode):
            if reason := low_content_reason(chunk):
                corpus.rejected.append(_rejection("chunk", reason, chunk["source"], chunk))
            else:
                chunks.append(chunk)
    corpus.chunks, repeated = drop_duplicates(chunks)
    corpus.rejected += [
        _rejection("chunk", "repeats another chunk", chunk["source"], chunk) for chunk in repeated
    ]
    if not corpus.chunks:
        raise UserError("the documents hold no usable text; see the reasons above or give others with --docs")
    return corpus


def _rejection(stage: str, reason: str, source: str, chunk: Chunk | None = None) -> dict[str, object]:
    return {
        "id": chunk["id"] if chunk else "",
        "stage": stage,
        "reason": reason,
        "count": 1,
        "question": "",
        "cot_answer": chunk["text"] if chunk else "",
        "expected": "",
        "origin": "",
        "chunk_id": chunk["id"] if chunk else "",
        "source": source,
        "page": chunk["page"] if chunk else None,
    }
