"""The rows of the pipeline: documents, chunks, drafts and RAFT records, each one JSON object."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypedDict, get_args, get_origin, get_type_hints, is_typeddict

Kind = Literal["text", "api"]
Origin = Literal["generated", "given", "drill"]  # the question comes from the model, a person or a rule
Split = Literal["train", "valid", "test"]

SPLITS: tuple[Split, ...] = get_args(Split)
DRILLS = "drills"  # a part beside the splits: practice rows made by rule from the training chunks


class Document(TypedDict):
    """One source document: its plain text and the offset of each page."""

    source: str  # path relative to the folder the user named, with forward slashes
    title: str
    text: str  # sanitized, see text/sanitize.py
    page_starts: list[int]  # offset of page i + 1 in text; empty if the format has no pages
    kind: Kind


class Chunk(TypedDict):
    """One passage of a document: what a question is asked about and what a retriever returns."""

    id: str  # from content: the same text of the same source gives the same id
    text: str
    source: str
    title: str
    page: int | None  # 1-based page on which the chunk starts
    start: int  # text is document text[start:end], in a table with the head row repeated above it
    end: int
    tokens: int
    kind: Kind


class RejectedAnswer(TypedDict):
    """An answer that did not pass verification, to a question that another answer did."""

    cot_answer: str  # as the model wrote it
    reason: str


class _Hints(TypedDict, total=False):
    expected: list[str]  # the answers the user gave, or the one the model wrote with its question
    target: str  # the sentence the question was asked about
    count: int  # rows that a rejection stands for, if more than one
    other_chunk_ids: list[str]  # the further oracles of a question that needs several chunks
    rejected_answers: list[RejectedAnswer]  # earlier ones to the same question


class Draft(_Hints):
    """One question with its answer, before and after verification."""

    question: str
    chunk_id: str
    cot_answer: str  # as the model wrote it; in canonical form once verified
    finish_reason: str  # of the reply that gave cot_answer
    final_answer: str
    reason: str  # why it was rejected; empty when it passed every check
    failed: bool  # rejected because the endpoint gave no answer; another run may get one
    origin: Origin
    model: str  # the one that wrote the answer
    prompt_hash: str  # of the prompts used


class Context(TypedDict):
    """The documents of a record, nested one level deep as in the reference implementation."""

    title: list[list[str]]
    sentences: list[list[str]]


class _Always(TypedDict):
    """The fields of every record. The keys down to `instruction` are the reference implementation's."""

    id: str
    type: Literal["general", "api call"]
    question: str
    context: Context
    oracle_context: str
    cot_answer: str
    instruction: str
    final_answer: str
    has_oracle: bool
    oracle_index: int | None
    chunk_id: str
    distractor_ids: list[str]
    source: str
    page: int | None
    split: Split
    origin: str
    model: str
    seed: int
    prompt_hash: str


class Record(_Always, total=False):
    """One row of a RAFT dataset (Zhang et al. 2024, arXiv 2403.10131).

    These are the only places that list the fields: validation, Parquet and the dataset card take them from
    here. Only the records of questions that need several oracles have the fields below; `chunk_id` and
    `oracle_index` are those of the first one, and `oracle_context` has the texts of all.
    """

    oracle_indices: list[int] | None
    oracle_ids: list[str]


class Field(NamedTuple):
    """What a field of a record holds."""

    type: type  # str, bool, int, list (of items), or dict (the context)
    nullable: bool
    required: bool
    items: Any  # the type of those of a list


def _fields(record: Any) -> dict[str, Field]:
    """Derive the fields of a TypedDict from its annotations, in order."""
    fields = {}
    for name, hint in get_type_hints(record).items():
        nullable = type(None) in get_args(hint)
        base = next(base for base in get_args(hint) if base is not type(None)) if nullable else hint
        if get_origin(base) is Literal:
            base = type(get_args(base)[0])
        elif is_typeddict(base):
            base = dict
        items = get_args(base)[0] if get_origin(base) is list else str
        fields[name] = Field(get_origin(base) or base, nullable, name in record.__required_keys__, items)
    return fields


FIELDS = _fields(Record)
ORACLE_GAP = "\n\n"  # between the oracles of a record in its oracle_context


def fields_of(*, several: bool) -> dict[str, Field]:
    """Return the fields of a dataset in which `several` says whether a record has several oracles."""
    return {name: field for name, field in FIELDS.items() if field.required or several}


def has_fields(record: Mapping[str, Any]) -> bool:
    """Return whether a record has all of its fields, and no others."""
    return record.keys() == fields_of(several="oracle_ids" in record).keys()


def new_draft(question: str, chunk_id: str, *, origin: Origin = "generated") -> Draft:
    """Return a new draft: a question about a chunk, without an answer yet."""
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


def oracle_ids(row: Mapping[str, Any]) -> list[str]:
    """Return the ids of all oracles of a draft or a record, the first one first."""
    return list(row.get("oracle_ids") or (row["chunk_id"], *row.get("other_chunk_ids", ())))


def part_of(record: Mapping[str, Any]) -> str:
    """Return the part of the dataset that a record is written to: its split, or the drills."""
    return DRILLS if record["origin"] == "drill" else str(record["split"])


def content_id(*parts: object) -> str:
    """Derive a stable 16-digit hexadecimal id from the parts.

    A change to any part, or to the boundary between parts, changes the id.
    """
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode("utf-8"))
    return digest.hexdigest()[:16]


def question_id(chunk_id: str, question: str, *more: object) -> str:
    """Derive the id of a row from its chunk, its question and anything else that distinguishes it."""
    return content_id("row", chunk_id, question, *more)
