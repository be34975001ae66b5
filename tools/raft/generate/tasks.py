"""The tasks of a dataset, each of which drafts some rows: given questions, chunks, pairs of them, drills."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from ..dataset.splits import Splits
from ..models.client import Client
from ..records import Chunk, Draft, new_draft
from .draft import choose_teacher, draft_given, draft_rows
from .draft_several import draft_pair, draft_several
from .given_questions import GivenQuestion, Locator
from .rows import Task
from .settings import DatasetSettings
from .small_model.drills import make_drills

Linked = Iterable[tuple[list[Chunk], str]]  # the chunks of each pair, and what links them


def locate_several(
    locator: Locator | None, given: Sequence[GivenQuestion], settings: DatasetSettings
) -> dict[int, list[str] | str]:
    """Return the chunk ids of each question that needs several, by its number, or why there are none."""
    needed: dict[int, list[str] | str] = {}
    for number, row in enumerate(given):
        if locator is None or not row.get("oracles"):
            continue
        found = locator.oracles(row)
        if len(row["oracles"]) > settings.distractors + 1:
            found = "it needs more documents than a row has: raise --distractors"
        needed[number] = found if isinstance(found, str) else [chunk["id"] for chunk in found]
    return needed


def given_tasks(
    locator: Locator | None,
    given: Sequence[GivenQuestion],
    needed: Mapping[int, list[str] | str],
    client: Client,
    settings: DatasetSettings,
) -> Iterator[Task]:
    """Yield the tasks of given questions, which come first, so that they win over duplicates."""
    for number, row in enumerate(given if locator else ()):
        assert locator is not None
        yield partial(_draft_given, row, locator, needed.get(number), client, settings)


def chunk_tasks(
    chunks: Sequence[Chunk], client: Client, settings: DatasetSettings, workers: int
) -> Iterator[Task]:
    """Yield a task for each chunk, in their order."""
    # A sequential teacher works on no more chunks at a time than the server has slots.
    slots = asyncio.Semaphore(workers) if choose_teacher(client.endpoint).sequential else None
    for chunk in chunks:
        task = partial(draft_rows, chunk, client, n=settings.questions, seed=settings.seed)
        yield partial(_with_server_slot, task, slots) if slots else task


def pair_tasks(linked: Linked, client: Client, settings: DatasetSettings) -> Iterator[Task]:
    """Yield a task for each pair of chunks, in their order."""
    for chunks, link in linked:
        yield partial(draft_pair, chunks, client, n=settings.questions, seed=settings.seed, link=link)


def drill_tasks(chunks: Iterable[Chunk], splits: Splits, settings: DatasetSettings) -> Iterator[Task]:
    """Yield a task for the drills of each chunk in the training split."""
    for chunk in chunks if settings.drills else ():
        if splits[chunk["id"]] == "train":
            yield partial(_drill, chunk, settings)


async def _draft_given(
    row: GivenQuestion,
    locator: Locator,
    needed: list[str] | str | None,
    client: Client,
    settings: DatasetSettings,
) -> list[Draft]:
    if isinstance(needed, str):
        draft = new_draft(row["question"], row["chunk_id"], origin="given")
        draft["reason"] = needed
        return [draft]
    if needed and row["answerable"]:
        return [await draft_several(row, locator.chunks(needed), client, seed=settings.seed)]
    return [await draft_given(row, locator.candidates(row), client, seed=settings.seed)]


async def _with_server_slot(task: Task, slots: asyncio.Semaphore) -> list[Draft]:
    """Draft a chunk while holding a server slot, so that each call finds its passage in the KV cache."""
    async with slots:
        return await task()


async def _drill(chunk: Chunk, settings: DatasetSettings) -> list[Draft]:
    """Make the drills of a chunk, which need no verification since they consist of its own words."""
    return make_drills(chunk, settings.drills, seed=settings.seed)
