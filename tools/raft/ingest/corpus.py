"""Collect the chunks of a corpus: read every document, split it, drop chunks without usable text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..choices import Chunking
from ..errors import UserError
from ..on_disk import RowFile
from ..records import Chunk
from .account import Account
from .filter import low_content_reason, repetition_filter
from .formats.parsed import count_characters
from .read import ReadOptions, read_files
from .split import load_tokenizer, split_document


@dataclass
class Corpus:
    """The chunks of a set of documents, and everything that was left out, with the reasons."""

    chunks: list[Chunk] | RowFile = field(default_factory=list)
    rejected: list[dict[str, object]] | RowFile = field(default_factory=list)  # rows for rejected.jsonl
    documents: int = 0
    accounts: list[Account] = field(default_factory=list)  # of the characters of each file


def collect_chunks(
    paths: Sequence[str | Path],
    *,
    chunk_size: int,
    tokenizer: Path | None = None,
    mode: Chunking = "text",
    reading: ReadOptions | None = None,
    on_disk: bool = False,
    on_page: Callable[[str, int, int], None] = lambda source, done, total: None,
) -> Corpus:
    """Read and split documents into chunks of at most `chunk_size` tokens.

    Unreadable files, chunks without usable content and repeated chunks are left out, each with its
    reason. on_disk: keep chunks and rejections in temporary files, so that memory does not grow with the
    corpus. on_page gets the file that is read, its pages read and in all (0 of 0 for one without pages).
    Raises UserError if a path does not exist, if nothing is readable and, with `reading.strict`, at the
    first file that is unreadable or loses text.
    """
    corpus = Corpus(RowFile(), RowFile()) if on_disk else Corpus()
    loaded_tokenizer = load_tokenizer(tokenizer)
    is_repeated = repetition_filter()
    for file in read_files(paths, reading, on_page=on_page):
        on_page(file.account.source, 0, 0)
        for item in file.skipped:
            corpus.rejected.append(_rejection("document", item.reason, item.source))
        corpus.documents += len(file.documents)
        corpus.accounts.append(file.account)
        for document in file.documents:
            for chunk in split_document(
                document, chunk_size=chunk_size, tokenizer=loaded_tokenizer, mode=mode
            ):
                reason = low_content_reason(chunk)
                if not reason and is_repeated(chunk):
                    reason = "repeats another chunk"
                if reason:
                    corpus.rejected.append(reject_chunk(chunk, reason))
                    cut = document["text"][chunk["start"] : chunk["end"]]
                    file.account.left_out[f"in chunks: {reason}"] += count_characters(cut)
                else:
                    corpus.chunks.append(chunk)
    if not corpus.chunks:
        raise UserError(
            "the documents contain no usable text; see the reasons above, or pass others with --docs"
        )
    return corpus


def reject_chunk(chunk: Chunk, reason: str) -> dict[str, object]:
    """Return the row of rejected.jsonl for a chunk that is left out."""
    return _rejection("chunk", reason, chunk["source"], chunk)


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
