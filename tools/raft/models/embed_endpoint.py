"""Embed texts at an endpoint, with the interface of the local embedder."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from .client import Client
from .embed import Embedder, Role
from .endpoint import Lookup, resolve_endpoint
from .failed_calls import CallFailed

if TYPE_CHECKING:
    import numpy as np

_CONCURRENCY = 8


def open_embedder(model: str = "", *, lookup: Lookup | None = None) -> Embedder:
    """Return the embedder for a model's name or folder, CONNECTION:MODEL, or URL:MODEL.

    Nothing is loaded or called yet. The default is the embedded model.
    """
    if ":" in model and not Path(model).exists():
        return EndpointEmbedder(model, lookup=lookup)
    return Embedder(model or None)


class EndpointEmbedder(Embedder):
    """Embed texts at an OpenAI-compatible endpoint, Azure OpenAI included, with the client's retries.

    `name` is CONNECTION:MODEL or URL:MODEL. It is resolved with the first text, so that an index can be
    opened without the endpoint's key.
    """

    def __init__(self, name: str, *, lookup: Lookup | None = None, batch_size: int = 64) -> None:
        super().__init__(name, batch_size=batch_size)
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

        Raises UserError if a text cannot be embedded; batches yielded before that remain valid.
        """
        loop = self._start_loop()
        starts = range(0, len(texts), self._batch_size)
        calls = {
            asyncio.run_coroutine_threadsafe(
                self._embed(texts[start : start + self._batch_size]), loop
            ): start
            for start in starts
        }
        try:
            for call in as_completed(calls):
                vectors = call.result()
                yield range(calls[call], calls[call] + len(vectors)), vectors
        finally:
            for call in calls:
                call.cancel()

    async def _embed(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np

        try:
            vectors = np.asarray(await self._client.embed(texts), dtype=np.float32)
        except CallFailed as error:
            if len(texts) == 1:
                message = f"{self.name} did not embed {texts[0][:60]!r}: {error.reason}"
                raise UserError(message) from None
            # Too many or too long for one call, or one text was refused: halve the batch to find out.
            middle = len(texts) // 2
            return np.concatenate([await self._embed(texts[:middle]), await self._embed(texts[middle:])])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / np.maximum(lengths, 1e-12)

    def _start_loop(self) -> asyncio.AbstractEventLoop:
        """Return the calls' event loop, in a thread of its own, since callers may run a loop themselves.

        It is started once per process: a forked worker does not inherit its parent's threads.
        """
        with self._lock:
            if self._process != os.getpid():
                endpoint = resolve_endpoint(self.name, lookup=self._lookup)
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="embeddings", daemon=True).start()
                self._client = Client(endpoint, cache_dir=None, concurrency=_CONCURRENCY)
                asyncio.run_coroutine_threadsafe(self._client.__aenter__(), self._loop).result()
                self._process = os.getpid()
                atexit.register(self._close, self._process)
            return self._loop

    def _close(self, process: int) -> None:
        if process == os.getpid():
            asyncio.run_coroutine_threadsafe(self._client.__aexit__(None, None, None), self._loop).result(5)
