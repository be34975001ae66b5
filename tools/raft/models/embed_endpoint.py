"""Embed texts at an endpoint, with the interface of the local embedder."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..errors import UserError
from .budget import Budget, BudgetSpent
from .client import Client
from .embed import Embedder, Role
from .endpoint import Lookup, resolve_endpoint
from .failed_calls import CallFailed

if TYPE_CHECKING:
    import numpy as np

_CONCURRENCY = 8


def open_embedder(model: str = "", *, lookup: Lookup | None = None, budget: Budget | None = None) -> Embedder:
    """Return the embedder for a model's name or folder, CONNECTION:MODEL, or URL:MODEL.

    Nothing is loaded or called yet. The default is the embedded model. budget: the ceiling for what is paid.
    """
    if ":" in model and not Path(model).exists():
        return EndpointEmbedder(model, lookup=lookup, budget=budget)
    return Embedder(model or None)


class EndpointEmbedder(Embedder):
    """Embed texts at an OpenAI-compatible endpoint, Azure OpenAI included, with the client's retries.

    `name` is CONNECTION:MODEL or URL:MODEL. It is resolved with the first text, so that an index can be
    opened without the endpoint's key.
    """

    def __init__(
        self,
        name: str,
        *,
        lookup: Lookup | None = None,
        budget: Budget | None = None,
        batch_size: int = 64,
    ) -> None:
        super().__init__(name, batch_size=batch_size)
        self._budget = budget
        self._lookup = lookup
        self._process = 0

    @property
    def dimension(self) -> int:
        """Return the length of a vector, determined by one call."""
        return int(self.embed(["dimension"]).shape[1])

    def load(self) -> None:
        """Resolve the connection, without a call; raises UserError if it is missing."""
        resolve_endpoint(self.name, lookup=self._lookup)

    @property
    def window(self) -> int | None:
        """Return None: the window is unknown, and an endpoint refuses texts that are too long."""
        return None

    def batches(
        self, texts: Sequence[str], role: Role = "document"
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """Embed texts batch by batch, several at a time; yield them as they complete.

        Raises UserError if a text cannot be embedded, after yielding all that were.
        """
        loop = self._start_loop()
        done: SimpleQueue[tuple[range, np.ndarray] | Future[None]] = SimpleQueue()
        calls = []
        for start in range(0, len(texts), self._batch_size):
            positions = range(start, min(start + self._batch_size, len(texts)))
            call = asyncio.run_coroutine_threadsafe(self._embed(texts, positions, done.put), loop)
            call.add_done_callback(done.put)
            calls.append(call)
        failed: Future[None] | None = None
        try:
            left = len(calls)
            while left and not failed:
                item = done.get()
                if isinstance(item, Future):
                    left -= 1
                    failed = item if item.exception() else None
                else:
                    yield item
        finally:
            for call in calls:
                call.cancel()
        while not done.empty():
            item = done.get()
            if not isinstance(item, Future):
                yield item
        if failed:
            failed.result()

    async def _embed(
        self, texts: Sequence[str], positions: range, on_done: Callable[[tuple[range, np.ndarray]], None]
    ) -> None:
        import numpy as np

        batch = [texts[position] for position in positions]
        try:
            vectors = np.asarray(await self._client.embed(batch), dtype=np.float32)
        except BudgetSpent as error:
            raise UserError(f"{error.reason}; what is embedded so far is kept") from None
        except CallFailed as error:
            if len(batch) == 1:
                message = f"{self.name} did not embed {batch[0][:60]!r}: {error.reason}"
                raise UserError(message) from None
            # Too many or too long for one call, or one text was refused: halve the batch to find out.
            middle = len(batch) // 2
            await self._embed(texts, positions[:middle], on_done)
            await self._embed(texts, positions[middle:], on_done)
            return
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        on_done((positions, vectors / np.maximum(lengths, 1e-12)))

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        """Return the calls' event loop, in a thread of its own, since callers may run a loop themselves.

        It is started once per process: a forked worker does not inherit its parent's threads.
        """
        with self._lock:
            if self._process != os.getpid():
                endpoint = resolve_endpoint(self.name, lookup=self._lookup)
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="embeddings", daemon=True).start()
                self._client = Client(endpoint, cache_dir=None, concurrency=_CONCURRENCY, budget=self._budget)
                asyncio.run_coroutine_threadsafe(self._client.__aenter__(), self._loop).result()
                self._process = os.getpid()
                atexit.register(self._close, self._process)
            return self._loop

    def _close(self, process: int) -> None:
        if process == os.getpid():
            asyncio.run_coroutine_threadsafe(self._client.__aexit__(None, None, None), self._loop).result(5)
