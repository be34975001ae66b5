"""Call a model and pass on its reply as it arrives; all else is as of `Client`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any

from ..prompts import Message
from .client import Client
from .lane import Lane
from .reply import Reply

OnPiece = Callable[[str], None]

# Where the pieces of the call under way go: `ask` reaches `_send` through retries and a pool of endpoints.
_on_piece: ContextVar[OnPiece | None] = ContextVar("on_piece", default=None)


class StreamingClient(Client):
    """A client that can have its replies streamed."""

    async def ask_streamed(self, messages: Sequence[Message], on_piece: OnPiece, **options: Any) -> Reply:
        """Return the reply as `ask` does, after its pieces were passed to `on_piece` one by one.

        A call that fails before its first piece is repeated, as `ask` does; after it, CallFailed is raised. A
        reply that comes from the cache, or from an identical call in flight, is one piece. Thoughts that the
        model writes into its reply are in the pieces.
        """
        begun = False

        def pass_on(piece: str) -> None:
            nonlocal begun
            begun = True
            on_piece(piece)

        token = _on_piece.set(pass_on)
        try:
            reply = await self.ask(messages, **options)
        finally:
            _on_piece.reset(token)
        if not begun:
            on_piece(reply.text)
        return reply

    async def _send(self, lane: Lane, path: str, body: dict[str, Any]) -> bytes:
        on_piece = _on_piece.get()
        if on_piece is None:
            return await super()._send(lane, path, body)
        return await lane.stream(path, body, on_piece)
