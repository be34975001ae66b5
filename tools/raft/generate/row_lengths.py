"""Compute how long the rows of a dataset become in a student's tokens, before they are paid for and after."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dataset.count_tokens import PER_MESSAGE, count_by_document
from ..dataset.export import PROMPT, to_chat
from ..dataset.student import Student
from ..errors import UserError
from ..files import read_jsonl
from ..prompts import assistant_message, render
from ..raft_format import format_documents
from ..records import Chunk
from .answer import ANSWER_TOKENS
from .ask import QUESTION_TOKENS

_TYPICAL_REPLY = 200  # tokens of a question and its answer, as estimate.py takes them
_MIN_CHUNK_SIZE = 16  # the command line's minimum


@dataclass(frozen=True)
class Forecast:
    """The lengths of rows to come, in the student's tokens, and the settings with which all of them fit."""

    student: str
    context: int
    longest: int
    typical: int  # of average chunks and an answer of average length
    distractors: int | None  # the most with which the longest row fits; None if it does not even alone
    chunk_size: int | None  # the largest with which it fits; None if none does
    exact: bool  # counted by the student's tokenizer, not estimated

    def describe(self) -> str:
        """Return a line with the longest row and the limit."""
        about = "" if self.exact else "about "
        return (
            f"rows come to {about}{self.longest:,} tokens at most, {self.typical:,} on average; "
            f"{self.student} takes {self.context:,}"
        )

    def check(self) -> str:
        """Return a warning if some rows may be too long, or an empty string; raise UserError if most are."""
        if self.longest <= self.context:
            return ""
        options = []
        if self.distractors is not None:
            options.append(f"--distractors {self.distractors}")
        if self.chunk_size is not None:
            options.append(f"--chunk-size {self.chunk_size}")
        remedy = f"use {' or '.join(options)}" if options else "choose a student with a longer context"
        if self.typical > self.context:
            raise UserError(f"{self.describe()}, so that they could not be trained on: {remedy}")
        return (
            f"{self.describe()}: {remedy} for all rows to fit; `finetune --skip-long` leaves out those that "
            "do not"
        )


def forecast_rows(chunks: Sequence[Chunk], student: Student, *, distractors: int) -> Forecast | None:
    """Forecast the lengths of rows with k + 1 documents; None if the student's context is unknown.

    The longest row has the longest chunks, and the longest question and answer that the teacher is allowed.
    """
    if student.context is None:
        return None
    prompt = student.count_chat([*render(PROMPT, instruction=""), assistant_message("")])
    room = student.context - prompt - QUESTION_TOKENS - ANSWER_TOKENS
    count = min(distractors + 1, len(chunks))
    longest: list[int] = []
    # A token of the splitter's tokenizer is at most so many of the student's.
    total, ratio = 0, 0.0
    for chunk in chunks:
        size = student.count(format_documents([chunk["text"]]))
        total, ratio = total + size, max(ratio, size / max(1, chunk["tokens"]))
        longest = heapq.nlargest(count, [*longest, size])
    fitting = next((k for k in range(count, 0, -1) if sum(longest[:k]) <= room), 0)
    chunk_size = int(room / count / ratio)
    return Forecast(
        student.name,
        student.context,
        longest=student.context - room + sum(longest),
        typical=round(prompt + _TYPICAL_REPLY + count * total / len(chunks)),
        distractors=fitting - 1 if fitting else None,
        chunk_size=chunk_size if chunk_size >= _MIN_CHUNK_SIZE else None,
        exact=student.exact,
    )


def surely_fit(chunks: Sequence[Chunk], context: int, *, distractors: int) -> bool:
    """Return whether all rows fit a context whatever the tokenizer: no token is shorter than a byte."""
    messages = render(PROMPT, instruction=format_documents([""] * (distractors + 1)))
    prompt = sum(len(message["content"].encode()) + 4 * PER_MESSAGE for message in messages)
    sizes = heapq.nlargest(distractors + 1, (len(chunk["text"].encode()) for chunk in chunks))
    return prompt + QUESTION_TOKENS + ANSWER_TOKENS + sum(sizes) <= context


def measure_longest(raft_jsonl: Path, student: Student) -> dict[str, Any]:
    """Measure the longest row of a dataset as a chat: its tokens, its line, and whose tokens they are."""
    count = count_by_document(student.count)
    longest, line, found = -1, 0, None
    for number, row in read_jsonl(raft_jsonl):
        messages = to_chat(row)["messages"]
        tokens = sum(count(message["content"]) + PER_MESSAGE for message in messages)
        if tokens > longest:
            longest, line, found = tokens, number, messages
    return {
        "tokens": student.count_chat(found) if found else 0,
        "line": line,
        "student": student.name or None,
        "context": student.context,
        "exact": student.exact,
    }
