"""Collect the requests of a run into batches, and hand each its reply when its batch has been answered."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..files import json_line, replacing, write_text
from .batch_service import BatchService, Progress
from .cache import canonical_json
from .failures import error_message
from .service import Unreachable

QUIET = 0.3  # seconds without another request after which a round is complete
FIRST_POLL, LAST_POLL = 1.0, 30.0  # seconds between two looks at a batch: at first, and after ten minutes
FOLDER = "batches"


class BatchReply(NamedTuple):
    """What came back for one request: a body under a status, or why there is none."""

    status: int  # 0: none came back
    body: bytes
    error: str


class Batcher:
    """Answer requests in rounds: when none is added any more, all that wait are sent, and awaited together.

    The tasks of a run wait for replies and for nothing else. So once no request has come for a moment, all
    tasks wait, and what they asked is a round: first the questions, then their answers, then second tries.

    Each file of requests is named by its content and kept in `folder`, its replies beside it when they are
    there. After an interruption, requests that a file already has are not sent again: its batch is awaited.
    """

    def __init__(
        self,
        service: BatchService,
        folder: Path,
        *,
        poll: float = LAST_POLL,
        on_status: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Set up; nothing is sent yet. `on_status` is called with a line whenever something has changed.

        poll: the most seconds between two looks at a batch.
        """
        self.service = service
        self.folder = folder
        self.rounds = 0
        self._poll = poll
        self._on_status = on_status
        self._waiting: dict[str, tuple[str, asyncio.Future[BatchReply]]] = {}  # line and future by id
        self._runner: asyncio.Task[None] | None = None

    async def ask(self, body: Mapping[str, Any], *, again: int = 0) -> BatchReply:
        """Add a request, and wait for its reply; `again` distinguishes another try from the first.

        Raises UserError if the service refuses the batch as a whole.
        """
        id = hashlib.sha256(f"{again} {canonical_json(body)}".encode()).hexdigest()[:32]
        line = json_line({"custom_id": id, "method": "POST", "url": self.service.path(), "body": dict(body)})
        if id not in self._waiting:
            self._waiting[id] = line, asyncio.get_running_loop().create_future()
        future = self._waiting[id][1]
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await asyncio.shield(future)

    async def close(self) -> None:
        """Stop waiting. What has been sent is answered all the same, and awaited by the next run."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._quiet()
                self.rounds += 1
                await self._answer_round()
        except Exception as error:
            for _, future in self._waiting.values():
                if not future.done():
                    future.set_exception(error)
                    future.exception()
            self._waiting.clear()

    async def _quiet(self) -> None:
        count = -1
        while count != len(self._waiting):
            count = len(self._waiting)
            await asyncio.sleep(QUIET)

    async def _answer_round(self) -> None:
        """Have all requests that wait answered: by replies that are here, by open files, by new files."""
        self._hand_out(self._read_replies())
        ids = self._open_files()
        asked = {id for asked in ids.values() for id in asked}
        new = self._write_files([line for id, (line, _) in self._waiting.items() if id not in asked])
        ids |= {file: _ids(file) for file in new}
        if not ids:
            return
        count = sum(map(len, ids.values()))
        self._on_status(f"round {self.rounds}: {count:,} requests in {len(ids)} batch file(s)")
        await asyncio.gather(*(self._follow(file, asked) for file, asked in ids.items()))

    def _open_files(self) -> dict[Path, list[str]]:
        """Return the files without replies that hold a request that waits, each with its ids."""
        files = sorted(self.folder.glob("raft-*.jsonl"))
        unanswered = (file for file in files if not _replies(file).exists() and ".replies" not in file.name)
        ids = ((file, _ids(file)) for file in unanswered)
        return {file: asked for file, asked in ids if not self._waiting.keys().isdisjoint(asked)}

    def _write_files(self, lines: Sequence[str]) -> list[Path]:
        """Write files of requests within the limits of the service."""
        self.folder.mkdir(parents=True, exist_ok=True)
        files = []
        for part in _split(sorted(lines), self.service.most_requests, self.service.most_bytes):
            text = "".join(part)
            name = f"raft-{hashlib.sha256(text.encode()).hexdigest()[:16]}"
            # The same requests again, of which some were not answered, are another file.
            number = sum(1 for _ in self.folder.glob(f"{name}-*.replies.jsonl")) + 1
            file = self.folder / f"{name}-{number}.jsonl"
            write_text(file, text)
            files.append(file)
        return files

    async def _follow(self, file: Path, ids: Sequence[str]) -> None:
        """Have a file answered, wait for that, and hand out its replies."""
        batch = await self.service.start(file)
        shown, started = Progress(""), time.monotonic()
        while True:
            try:
                progress = await self.service.progress(batch)
                if progress != shown:
                    shown = progress
                    self._on_status(
                        f"{batch}: {progress.state}, {progress.done:,} done, {progress.failed:,} failed"
                    )
                content = await self.service.replies(batch) if progress.ended else None
            except Unreachable as error:
                self._on_status(f"{batch}: {error}; trying again")
                content = None
            if content is not None:
                break
            waited = time.monotonic() - started
            await asyncio.sleep(min(self._poll, max(FIRST_POLL, waited / 20)))
        with replacing(_replies(file)) as staging:
            staging.write_bytes(content)
        replies = dict(_parse(content))
        missing = BatchReply(0, b"", f"the batch ended without a reply ({shown.state})")
        self._hand_out({id: replies.get(id, missing) for id in ids})

    def _read_replies(self) -> dict[str, BatchReply]:
        """Return the usable replies of earlier rounds and runs to what waits."""
        found: dict[str, BatchReply] = {}
        for file in sorted(self.folder.glob("raft-*.replies.jsonl")) if self._waiting else ():
            found |= {
                id: reply
                for id, reply in _parse(file.read_bytes())
                if id in self._waiting and reply.status == 200
            }
        return found

    def _hand_out(self, replies: Mapping[str, BatchReply]) -> None:
        for id, reply in replies.items():
            if (waiting := self._waiting.pop(id, None)) and not waiting[1].done():
                waiting[1].set_result(reply)


def _replies(file: Path) -> Path:
    return file.with_name(f"{file.stem}.replies.jsonl")


def _ids(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line)["custom_id"] for line in lines]


def _split(lines: Sequence[str], most_requests: int, most_bytes: int) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for line in lines:
        length = len(line.encode())
        if part and (len(part) == most_requests or size + length > most_bytes):
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part


def _parse(content: bytes) -> Iterator[tuple[str, BatchReply]]:
    """Yield id and reply of each line; skip lines that are none, as at the end of a file that was cut off."""
    for line in content.splitlines():
        try:
            row = json.loads(line)
            id, response, error = str(row["custom_id"]), row.get("response") or {}, row.get("error") or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        body = response.get("body")
        raw = json.dumps(body, ensure_ascii=False).encode() if body is not None else b""
        status = int(response.get("status_code") or (200 if body and not error else 0))
        reason = error_message(error) or str(error.get("code") or "")
        yield id, BatchReply(status, raw, reason or (error_message(body) if status != 200 else ""))
