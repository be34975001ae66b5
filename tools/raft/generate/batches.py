"""Generate in batches of flows, documents → chunks → questions → answers: the files between them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, cast, get_type_hints

from ..errors import UserError
from ..files import read_jsonl, write_jsonl
from ..ingest.account import Account, total_account
from ..ingest.chunks import read_chunks, sanitize_chunk
from ..ingest.corpus import Corpus, reject_chunk
from ..ingest.filter import repetition_filter
from ..ingest.formats.parsed import count_characters
from ..models.endpoint import Endpoint
from ..on_disk import Column, RowFile, positions_by_id
from ..records import Chunk, Draft, new_draft
from ..text.sanitize import sanitize_line
from .pipeline import assemble_dataset
from .settings import DatasetSettings
from .summarise import summarise

CHUNKS, LEFT_OUT, ACCOUNTS = "chunks.jsonl", "left_out.jsonl", "documents.jsonl"
QUESTIONS = "questions.jsonl"
_REPEATED = "repeats another chunk"


def count_chunks(splits: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Count documents, chunks, what was left out, and the characters (letters and digits) seen and kept.

    splits: of each line, its "chunks", "left_out" (rows with a "reason") and the "accounts" of its files.
    """
    total = total_account(Account.from_dict(row) for split in splits for row in split["accounts"])
    return {
        "documents": total.documents,
        "chunks": sum(len(split["chunks"]) for split in splits),
        "left_out": sum(len(split["left_out"]) for split in splits),
        "characters": total.seen,
        "characters_kept": total.kept,
    }


def write_chunks(out: Path | None, splits: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Write out/chunks.jsonl, out/left_out.jsonl (files and chunks) and out/documents.jsonl (accounts).

    splits: as for `count_chunks`. A chunk that repeats one of an earlier line is left out. Without `out`
    nothing is written. Return the counts. Raises UserError if a file cannot be written.
    """
    is_repeated = repetition_filter()
    unique = []
    for split in splits:
        accounts = {row["source"]: Account.from_dict(row) for row in split["accounts"]}
        chunks, left_out = [], list(split["left_out"])
        for chunk in split["chunks"]:
            if is_repeated(chunk):
                left_out.append(reject_chunk(chunk, _REPEATED))
                characters = count_characters(chunk["text"])
                accounts[chunk["source"]].left_out[f"in chunks: {_REPEATED}"] += characters
            else:
                chunks.append(chunk)
        rows = [account.to_dict() for account in accounts.values()]
        unique.append({"chunks": chunks, "left_out": left_out, "accounts": rows})
    if out:
        parts = (
            [row for split in unique for row in split[part]] for part in ("chunks", "left_out", "accounts")
        )
        _write_files(out, *parts)
    return count_chunks(unique)


def write_corpus(out: Path, corpus: Corpus) -> None:
    """Write a whole corpus to the same files. Raises UserError if one cannot be written."""
    _write_files(out, corpus.chunks, corpus.rejected, (account.to_dict() for account in corpus.accounts))


def _write_files(out: Path, *parts: Iterable[Mapping[str, Any]]) -> None:
    for name, rows in zip((CHUNKS, LEFT_OUT, ACCOUNTS), parts, strict=True):
        write_jsonl(out / name, rows)


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

    chunks_file: as `write_chunks` writes it; what was left out, and the accounts of the documents, are read
    from the files beside it, if there are any.
    drafts: verified or rejected, in the order of the batch's lines. Raises UserError if one is about a chunk
    that is not in the file, and as `build_dataset` does.
    """
    corpus = _read_corpus(chunks_file)
    positions = positions_by_id(corpus.chunks)
    rows, about = RowFile(), array("Q")  # the drafts, and the position of the chunk that each is about
    models = set()
    for draft in drafts:
        position = positions.get(draft["chunk_id"])
        if position is None:
            raise UserError(
                f"chunk {draft['chunk_id']} is not in {chunks_file}: name the file that was asked about"
            )
        rows.append(draft)
        about.append(position)
        models |= {draft["model"]} - {""}
    order = sorted(range(len(about)), key=about.__getitem__)
    parts = ([rows[number] for number in part] for _, part in groupby(order, about.__getitem__))
    result = assemble_dataset(corpus, parts, out, settings, total=len(set(about)))
    teacher = Endpoint(base_url="", model=" ".join(sorted(models)))
    # Earlier batches decided how to split and how much to ask, and nothing of that is in their files.
    unknown = ("questions", "chunk_size", "chunking")
    return summarise(result, corpus, [teacher], out, settings, prices={}, unknown=unknown)


def _read_corpus(chunks_file: Path) -> Corpus:
    """Read what `write_chunks` or `write_corpus` wrote; the chunks stay on disk."""
    corpus = Corpus(RowFile.of(read_chunks(chunks_file)))
    if (left_out := chunks_file.with_name(LEFT_OUT)).exists():
        corpus.rejected = RowFile.of(row for _, row in read_jsonl(left_out))
    corpus.documents = len(set(Column(corpus.chunks, "source")))
    if (accounts := chunks_file.with_name(ACCOUNTS)).exists():
        corpus.accounts = [Account.from_dict(row) for _, row in read_jsonl(accounts)]
        corpus.documents = total_account(corpus.accounts).documents
    return corpus
