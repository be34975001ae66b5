"""Turn chunks into verified RAFT records, many at a time, in an order that never changes."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .assemble import NoOracle, Record, assemble_record
from .distract import Distractors
from .errors import UserError
from .parse import normalise, question_id
from .records import Chunk, Draft
from .splits import part_of

Drafter = Callable[
    [], Awaitable[list[Draft]]
]  # one piece of work: a chunk's questions, or one given question

_HOPELESS = 12  # so many pieces without one success: the endpoint is not there, and waiting on is no use


@dataclass
class Tally:
    """Count what came out: rows by split and origin, refusals by reason, rows the endpoint still owes."""

    accepted: Counter[str] = field(default_factory=Counter)  # by split, drills apart
    origins: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    missing: int = 0
    with_oracle: int = 0

    @property
    def rows(self) -> int:
        """Count the accepted rows, drills as well."""
        return sum(self.accepted.values())


async def generate_records(
    work: Iterable[Drafter],
    raft_path: Path,
    rejected_path: Path,
    *,
    chunks: Mapping[str, Chunk],
    distractors: Distractors,
    k: int,
    p: float,
    seed: int,
    no_oracle: NoOracle = "keep",
    window: int = 64,
    on_done: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Run the work, assemble what passes, and write records and refusals as they come, in order.

    At most `window` pieces are under way or waiting for their turn, so memory does not grow with
    the corpus. The files depend on the replies and the seed, never on which reply came first.
    Raises UserError where the endpoint answers nothing at all.
    """
    tally = Tally()
    seen: set[str] = set()
    with raft_path.open("w", encoding="utf-8") as raft, rejected_path.open("a", encoding="utf-8") as rejected:
        async for drafts in _in_order(work, window):
            good = []
            for draft in drafts:
                key = normalise(draft["question"])
                if not draft["reason"] and key in seen:
                    draft["reason"] = "duplicate question"
                if draft["reason"]:
                    count = draft.get("count", 1)
                    tally.refused[draft["reason"].partition(":")[0]] += count
                    tally.missing += count * draft["failed"]
                    write_row(rejected, reject(draft, chunks.get(draft["chunk_id"])))
                else:
                    seen.add(key)
                    good.append(draft)
            for record in _assemble(good, chunks, distractors, k=k, p=p, seed=seed, no_oracle=no_oracle):
                write_row(raft, record)
                tally.accepted[part_of(record)] += 1
                tally.origins[record["origin"]] += 1
                tally.with_oracle += record["has_oracle"]
            if tally.missing >= _HOPELESS and not tally.rows and tally.missing == tally.refused.total():
                raise UserError(f"no answer from the endpoint: {drafts[-1]['reason']}")
            on_done(tally)
    return tally


async def _in_order(work: Iterable[Drafter], window: int) -> AsyncIterator[list[Draft]]:
    """Run up to `window` pieces at once and give their results in the order they were begun."""
    pieces: Iterator[Drafter] = iter(work)
    running: deque[asyncio.Task[list[Draft]]] = deque()
    try:
        while True:
            while len(running) < window and (piece := next(pieces, None)) is not None:
                running.append(asyncio.ensure_future(piece()))
            if not running:
                return
            yield await running[0]
            running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _assemble(
    drafts: Sequence[Draft],
    chunks: Mapping[str, Chunk],
    distractors: Distractors,
    *,
    k: int,
    p: float,
    seed: int,
    no_oracle: NoOracle,
) -> Iterator[Record]:
    """Draw the distractors of the drafts of one chunk together, then assemble each.

    Drills share their documents, to be computed once in a training.
    """
    if not drafts:
        return
    oracle = chunks[drafts[0]["chunk_id"]]
    split = distractors.split_of(oracle)
    practice = drafts[0]["origin"] == "drill"
    found = distractors.draw(drafts, oracle, k=k, seed=seed, round=0 if practice else None)
    for draft, drawn in zip(drafts, found, strict=True):
        yield assemble_record(draft, oracle, drawn, p=p, seed=seed, split=split, no_oracle=no_oracle)


def reject(draft: Draft, chunk: Chunk | None) -> dict[str, object]:
    """Give the row that rejected.jsonl keeps of a refused draft."""
    return {
        "id": question_id(draft["chunk_id"], draft["question"]),
        "stage": "answer" if draft["cot_answer"] else "question",
        "reason": draft["reason"],
        "count": draft.get("count", 1),
        "question": draft["question"],
        "cot_answer": draft["cot_answer"],
        "expected": draft.get("expected", ""),
        "origin": draft["origin"],
        "chunk_id": draft["chunk_id"],
        "source": chunk["source"] if chunk else "",
        "page": chunk["page"] if chunk else None,
    }


def write_row(file: Any, row: Mapping[str, Any]) -> None:
    """Write one JSON line, characters as they are."""
    file.write(json.dumps(row, ensure_ascii=False) + "\n")
