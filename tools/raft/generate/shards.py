"""Draft the rows of a corpus in shards, each a file of its own, wherever they are drafted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..files import read_jsonl, write_jsonl
from ..models.cache import canonical_json
from ..models.client import Client
from ..models.endpoint import Endpoint
from ..prompts import prompt_hash
from ..records import Chunk, Draft
from .draft import choose_teacher, draft_rows

CHUNKS = 32  # of a shard: a few minutes of a large model, so that little is drafted twice
FOLDER = "drafts"


@dataclass(frozen=True)
class Shard:
    """Some successive lines of a chunks.jsonl, and where their drafts go."""

    offset: int  # in bytes, of the first line
    count: int  # lines
    key: str  # of everything that determines the drafts

    def drafts(self, folder: Path) -> Path:
        """Return the file of its drafts."""
        return folder / f"{self.key}.jsonl"

    def partial(self, folder: Path) -> Path:
        """Return the file in place of that, if calls failed: they are made again in the next run."""
        return folder / f"{self.key}.partial.jsonl"

    def is_done(self, folder: Path) -> bool:
        """Return whether it is drafted and no call failed."""
        return self.drafts(folder).exists()

    def read(self, folder: Path) -> list[list[Draft]]:
        """Return the drafts about each chunk."""
        file = self.drafts(folder)
        rows = read_jsonl(file if file.exists() else self.partial(folder))
        return [row["drafts"] for _, row in rows]


@dataclass(frozen=True)
class Drafting:
    """How shards are drafted; goes to every worker, wherever it is."""

    chunks_file: Path  # like the folder, on storage that all workers share
    folder: Path
    endpoints: Sequence[Endpoint]
    questions: int
    seed: int
    cache: Path | None
    concurrency: int  # calls at a time, of one worker
    timeout: float

    def draft(self, shard: Shard) -> list[dict[str, Any]]:
        """Draft a shard, unless that is done; return what each endpoint did, as `Lane.account` does."""
        if shard.is_done(self.folder):
            return []
        return asyncio.run(self._draft(shard))

    async def _draft(self, shard: Shard) -> list[dict[str, Any]]:
        chunks = list(_read_lines(self.chunks_file, shard))
        async with Client(
            self.endpoints, cache_dir=self.cache, concurrency=self.concurrency, timeout=self.timeout
        ) as client:
            tasks = (draft_rows(chunk, client, n=self.questions, seed=self.seed) for chunk in chunks)
            drafts = await asyncio.gather(*tasks)
        failed = any(draft["failed"] for part in drafts for draft in part)
        file = shard.partial(self.folder) if failed else shard.drafts(self.folder)
        write_jsonl(file, ({"drafts": part} for part in drafts))
        return [lane.account() for lane in client.lanes]


# Drafts shards somewhere; calls the function with each that is done, and with what each endpoint did.
Engine = Callable[[Drafting, Sequence[Shard], Callable[[Shard, list[dict[str, Any]]], None]], None]


def plan_shards(
    chunks_file: Path, endpoints: Sequence[Endpoint], *, questions: int, seed: int, size: int = CHUNKS
) -> Iterator[Shard]:
    """Divide a chunks.jsonl into shards, whose keys change with anything that changes their drafts."""
    teacher = choose_teacher(endpoints[0])
    prompts = {name: prompt_hash(name) for kind in ("text", "api") for name in teacher.prompts(kind)}
    models = sorted({(endpoint.model, endpoint.revision) for endpoint in endpoints})
    common = canonical_json([questions, seed, models, prompts])

    with chunks_file.open("rb") as file:
        while True:
            offset, digest, count = file.tell(), hashlib.sha256(common.encode()), 0
            for line in (file.readline() for _ in range(size)):
                if not line:
                    break
                digest.update(line)
                count += 1
            if not count:
                return
            yield Shard(offset, count, digest.hexdigest()[:20])


class ShardedDrafts:
    """The drafts of all shards, as tasks in the order of the chunks, while an engine makes them."""

    def __init__(self, drafting: Drafting, shards: Sequence[Shard], engine: Engine) -> None:
        self.accounts: list[dict[str, Any]] = []  # of all workers
        self._started = time.monotonic()
        self._drafting, self._shards, self._engine = drafting, shards, engine
        self._loaded: tuple[str, list[list[Draft]]] = "", []

    async def __aenter__(self) -> ShardedDrafts:
        loop = asyncio.get_running_loop()
        self._done = {shard.key: loop.create_future() for shard in self._shards}

        def on_done(shard: Shard, accounts: list[dict[str, Any]]) -> None:
            self.accounts += accounts
            loop.call_soon_threadsafe(self._resolve, shard)

        self._run = asyncio.ensure_future(
            asyncio.to_thread(self._engine, self._drafting, self._shards, on_done)
        )
        self._run.add_done_callback(self._fail)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(self._run, return_exceptions=True)

    @property
    def seconds(self) -> float:
        """How long it has been going on."""
        return time.monotonic() - self._started

    def tasks(self) -> Iterator[Callable[[], Any]]:
        """Yield a task for each chunk, which waits for its shard."""
        for shard in self._shards:
            for position in range(shard.count):
                yield partial(self._drafts_of, shard, position)

    async def _drafts_of(self, shard: Shard, position: int) -> list[Draft]:
        await asyncio.shield(self._done[shard.key])
        if self._loaded[0] != shard.key:
            self._loaded = shard.key, shard.read(self._drafting.folder)
        return self._loaded[1][position]

    def _resolve(self, shard: Shard) -> None:
        if not self._done[shard.key].done():
            self._done[shard.key].set_result(None)

    def _fail(self, run: asyncio.Future[None]) -> None:
        """Pass on why the engine stopped to all who wait."""
        error = run.exception() or RuntimeError("the engine ended before all shards were drafted")
        for future in self._done.values():
            if not future.done():
                future.set_exception(error)
                future.exception()


def _read_lines(chunks_file: Path, shard: Shard) -> Iterator[Chunk]:
    with chunks_file.open("rb") as file:
        file.seek(shard.offset)
        for _ in range(shard.count):
            yield json.loads(file.readline())
