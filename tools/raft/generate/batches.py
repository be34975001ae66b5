"""Generate in batches of flows, documents → chunks → questions → answers: the files between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_type_hints

from ..errors import UserError
from ..files import read_jsonl, write_jsonl
from ..ingest.chunks import read_chunks, sanitize_chunk
from ..ingest.corpus import Corpus, reject_chunk
from ..ingest.filter import repetition_filter
from ..models.endpoint import Endpoint
from ..records import Chunk, Draft, new_draft
from ..text.sanitize import sanitize_line
from .pipeline import DatasetSettings, assemble_dataset, summarise

CHUNKS, LEFT_OUT, QUESTIONS = "chunks.jsonl", "left_out.jsonl", "questions.jsonl"


def write_chunks(out: Path | None, splits: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Write out/chunks.jsonl, and out/left_out.jsonl with the files and chunks left out.

    splits: of each line, its "chunks", "left_out" and number of "documents". A chunk that repeats one of an
    earlier line is left out. Without `out` nothing is written. Return the counts. Raises UserError if a file
    cannot be written.
    """
    is_repeated = repetition_filter()
    chunks, left_out = [], []
    for split in splits:
        left_out += split["left_out"]
        for chunk in split["chunks"]:
            if is_repeated(chunk):
                left_out.append(reject_chunk(chunk, "repeats another chunk"))
            else:
                chunks.append(chunk)
    if out:
        write_jsonl(out / CHUNKS, chunks)
        write_jsonl(out / LEFT_OUT, left_out)
    documents = sum(split["documents"] for split in splits)
    return {"documents": documents, "chunks": len(chunks), "left_out": len(left_out)}


def count_questions(drafts: Iterable[Sequence[Draft]]) -> dict[str, int]:
    """Count the questions of all chunks, and those that are missing."""
    flat = [draft for part in drafts for draft in part]
    missing = sum(draft.get("count", 1) for draft in flat if draft["reason"])
    return {"questions": sum(not draft["reason"] for draft in flat), "missing": missing}


def write_questions(out: Path, chunks: Sequence[Chunk], drafts: Sequence[Sequence[Draft]]) -> dict[str, int]:
    """Write out/questions.jsonl: a line per draft with its chunk, also for the drafts that are rejected.

    Return the counts. Raises UserError if the file cannot be written.
    """
    rows = (
        {"chunk": chunk, "draft": draft} for chunk, part in zip(chunks, drafts, strict=True) for draft in part
    )
    write_jsonl(out / QUESTIONS, rows)
    return count_questions(drafts)


def read_question(chunk: Mapping[str, Any], draft: Mapping[str, Any]) -> tuple[Chunk, Draft]:
    """Return chunk and draft of a line of questions.jsonl, sanitized, as the file may come from elsewhere.

    Raises UserError if a field is missing or the question is of another chunk.
    """
    missing = sorted((get_type_hints(Chunk).keys() - chunk) | (new_draft("", "").keys() - draft))
    if missing:
        raise UserError(f"not a line of {QUESTIONS}: {', '.join(missing)} is missing")
    if draft["chunk_id"] != chunk["id"]:
        raise UserError(f"question {draft['question']!r} is about another chunk than {chunk['id']}")
    question = sanitize_line(draft["question"])
    return sanitize_chunk(chunk), {**cast(Draft, dict(draft)), "question": question}


def assemble_batch(
    chunks_file: Path, drafts: Iterable[Draft], out: Path, settings: DatasetSettings
) -> dict[str, Any]:
    """Build the dataset of a batch in the folder `out`; return its manifest.

    chunks_file: as `write_chunks` writes it; what was left out is read from the file beside it, if any.
    drafts: verified or rejected, in the order of the batch's lines. Raises UserError if one is about a chunk
    that is not in the file, and as `build_dataset` does.
    """
    corpus = Corpus(chunks=list(read_chunks(chunks_file)))
    if (left_out := chunks_file.with_name(LEFT_OUT)).exists():
        corpus.rejected = [row for _, row in read_jsonl(left_out)]
    corpus.documents = len({chunk["source"] for chunk in corpus.chunks})
    parts: dict[str, list[Draft]] = {chunk["id"]: [] for chunk in corpus.chunks}
    models = set()
    for draft in drafts:
        if draft["chunk_id"] not in parts:
            raise UserError(
                f"chunk {draft['chunk_id']} is not in {chunks_file}: name the file that was asked about"
            )
        parts[draft["chunk_id"]].append(draft)
        models |= {draft["model"]} - {""}
    result = assemble_dataset(corpus, [part for part in parts.values() if part], out, settings)
    teacher = Endpoint(base_url="", model=" ".join(sorted(models)))
    # Earlier batches decided how to split and how much to ask, and nothing of that is in their files.
    unknown = ("questions", "chunk_size", "chunking")
    return summarise(result, corpus, teacher, out, settings, prices={}, unknown=unknown)
