"""Turn chunks into verified RAFT records, many at a time, in a reproducible order."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..dataset.pairs import NOT_SHOWN
from ..errors import AGAIN, CallsFailed
from ..files import json_line
from ..on_disk import DiskMap, RowsById
from ..records import DRILLS, Chunk, Draft, Record, oracle_ids, part_of, question_id
from ..text.normalise import normalise
from .assemble import RowOptions, assemble_records
from .distractors import Distractors

Task = Callable[[], Awaitable[list[Draft]]]  # drafts the questions of a chunk, or one given question
OnRows = Callable[[Sequence[Record], Sequence[Draft]], None]  # the accepted and the rejected rows of a task

# Missing rows after which the endpoint counts as unreachable, if there are no others yet.
MAX_INITIAL_FAILURES = 12


@dataclass
class Counts:
    """Rows by split and origin, rejections by reason, and rows missing because of failed calls."""

    accepted: Counter[str] = field(default_factory=Counter)  # by split, drills separately
    origins: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)  # by reason
    missing: int = 0
    failure: str = ""  # why the last call failed
    with_oracle: int = 0
    several: int = 0  # rows with several oracles

    @property
    def rows(self) -> int:
        """Return the number of accepted rows, including drills."""
        return sum(self.accepted.values())


async def generate_records(
    tasks: Iterable[Task],
    raft_path: Path,
    rejected_path: Path,
    answers_path: Path,
    *,
    chunks: RowsById,
    distractors: Distractors,
    options: RowOptions,
    window: int = 64,
    on_done: Callable[[Counts], None] = lambda counts: None,
    on_rows: OnRows = lambda records, rejected: None,
) -> Counts:
    """Run the tasks, assemble the verified drafts, and write records and rejections in task order.

    Answers that were rejected before another one to their question was accepted go to `answers_path`.
    At most `window` tasks are running or waiting to be written, so memory does not grow with the corpus.
    The files depend on the replies and the seed, never on the order in which the replies arrive.
    Raises CallsFailed if the endpoint answers nothing at all.
    """
    counts = Counts()
    seen = DiskMap()
    with (
        raft_path.open("w", encoding="utf-8") as raft,
        rejected_path.open("a", encoding="utf-8") as rejected,
        answers_path.open("w", encoding="utf-8") as answers,
    ):
        async for drafts in _in_order(tasks, window):
            accepted, refused = [], []
            for draft in drafts:
                if not draft["reason"] and not seen.add(normalise(draft["question"])):
                    draft["reason"] = "duplicate question"
                if draft["reason"]:
                    count = draft.get("count", 1)
                    counts.rejected[draft["reason"].partition(":")[0]] += count
                    if draft["failed"]:
                        counts.missing += count
                        counts.failure = draft["reason"]
                    rejected.write(json_line(reject(draft, chunks.get(draft["chunk_id"]))))
                    refused.append(draft)
                else:
                    accepted.append(draft)
            records = _assemble(accepted, chunks, distractors, options)
            for draft, record in zip(accepted, records, strict=True):
                raft.write(json_line(record))
                if row := rejected_answers(draft, record):
                    answers.write(json_line(row))
                counts.accepted[part_of(record)] += 1
                counts.origins[record["origin"]] += 1
                counts.with_oracle += record["has_oracle"]
                counts.several += "oracle_ids" in record
            if counts.missing >= MAX_INITIAL_FAILURES:
                check_replies(counts)
            on_rows(records, refused)
            on_done(counts)
    return counts


def check_replies(counts: Counts) -> None:
    """Raise CallsFailed if not one call has brought a usable reply so far."""
    tried = counts.rows - counts.accepted[DRILLS] + counts.rejected.total()
    if counts.missing and counts.missing == tried:
        reason = counts.failure.removeprefix("call failed: ")
        again = "" if AGAIN in reason else f"; {AGAIN} later"
        raise CallsFailed(f"not one call brought a usable reply: {reason}{again}")


async def _in_order(tasks: Iterable[Task], window: int) -> AsyncIterator[list[Draft]]:
    """Run up to `window` tasks at once and yield their results in the order they were started."""
    waiting: Iterator[Task] = iter(tasks)
    running: deque[asyncio.Task[list[Draft]]] = deque()
    try:
        while True:
            while len(running) < window and (task := next(waiting, None)) is not None:
                running.append(asyncio.ensure_future(task()))
            if not running:
                return
            yield await running[0]
            running.popleft()
    finally:
        for started in running:
            started.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _assemble(
    drafts: Sequence[Draft],
    chunks: RowsById,
    distractors: Distractors,
    options: RowOptions,
) -> list[Record]:
    """Draw the distractors for all drafts of a task, which share their chunk; then assemble their records.

    Drills share their documents, so that a trainer computes these once.
    """
    if not drafts:
        return []
    oracle = chunks[drafts[0]["chunk_id"]]
    drilled = drafts[0]["origin"] == "drill"
    shared = drilled and options.focus is None  # cut documents are those of one question only
    others = [[chunks[id] for id in draft.get("other_chunk_ids", ())] for draft in drafts]
    others = others if any(others) else []
    drawn = distractors.draw(drafts, oracle, k=options.k, seed=options.seed, shared=shared, others=others)
    split = distractors.split_of(oracle)
    return assemble_records(drafts, oracle, drawn, options, split=split, others=others)


def rejected_answers(draft: Draft, record: Record) -> dict[str, Any] | None:
    """Return the row of the rejected answers to the question of a record, None if there are none.

    The draft's own answer is one of them if the record is labelled with a refusal in its place.
    """
    answers = list(draft.get("rejected_answers", ()))
    if record["cot_answer"] != draft["cot_answer"] and draft["origin"] != "drill":
        answers.insert(0, {"cot_answer": draft["cot_answer"], "reason": NOT_SHOWN})
    if not answers:
        return None
    return {
        "id": record["id"],
        "question": record["question"],
        "chunk_id": record["chunk_id"],
        "source": record["source"],
        "page": record["page"],
        "answers": answers,
    }


def reject(draft: Draft, chunk: Chunk | None) -> dict[str, object]:
    """Return the row of rejected.jsonl for a rejected draft."""
    return {
        "id": question_id(draft["chunk_id"], draft["question"]),
        "stage": "answer" if draft["cot_answer"] else "question",
        "reason": draft["reason"],
        "count": draft.get("count", 1),
        "question": draft["question"],
        "cot_answer": draft["cot_answer"],
        "expected": " | ".join(draft.get("expected", ())),
        "origin": draft["origin"],
        "chunk_id": draft["chunk_id"],
        **({"oracle_ids": oracle_ids(draft)} if "other_chunk_ids" in draft else {}),
        "source": chunk["source"] if chunk else "",
        "page": chunk["page"] if chunk else None,
    }
