"""What a chat needs, opened once: an index, a client, and a workflow for each question."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_framework import Workflow

from tools.raft.choices import Mode, Prompt
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.streaming import StreamingClient
from tools.raft.models.usage import Usage
from tools.raft.rag.answer import DOCUMENTS
from tools.raft.rag.chat_retriever import ChatRetriever
from workflows.chat import Turn, build_chat
from workflows.chat_client import EndpointChatClient


@dataclass(frozen=True)
class ChatSettings:
    """How questions are answered, as in the nodes search_index and ask_model."""

    prompt: Prompt = "chain_of_thought"
    k: int = DOCUMENTS
    mode: Mode = "fused"


class ChatSession:
    """An open index and client. Questions may be answered side by side, each by a workflow of its own."""

    def __init__(self, retriever: ChatRetriever, client: StreamingClient, settings: ChatSettings) -> None:
        self._retriever, self._client, self._settings = retriever, client, settings
        self._chat_client = EndpointChatClient(client)

    @property
    def usage(self) -> Usage:
        """Return what the calls so far have used."""
        return self._client.usage

    def workflow(self) -> Workflow:
        """Build a workflow: it takes about a millisecond, and an instance runs one question at a time."""
        chosen = self._settings
        return build_chat(
            self._retriever, self._chat_client, prompt=chosen.prompt, k=chosen.k, mode=chosen.mode
        )

    async def answer(self, turn: Turn) -> dict[str, Any]:
        """Return the outputs for a question. Raises what its executors raise."""
        (output,) = (await self.workflow().run(turn)).get_outputs()
        return dict(output)


def open_retriever(index: Path, mode: Mode) -> ChatRetriever:
    """Open an index, and search once, so that the first question need not wait."""
    return ChatRetriever(index, embeddings=mode != "lexical", warm=True)


@asynccontextmanager
async def open_session(
    retriever: ChatRetriever,
    endpoints: Sequence[Endpoint],
    settings: ChatSettings,
    *,
    cache_dir: Path | None = None,
    workers: int = 64,
    timeout: float = 300.0,
) -> AsyncIterator[ChatSession]:
    """Open a session; `workers` calls are made at a time, `timeout` is of each, in seconds."""
    client = StreamingClient(endpoints, cache_dir=cache_dir, concurrency=workers, timeout=timeout)
    async with client:
        yield ChatSession(retriever, client, settings)
