"""A client whose calls promptflow sees: a span for each, and its tokens in the metrics of a run."""

from __future__ import annotations

from typing import Any

from tools.raft.models.client import Client
from tools.raft.models.lane import Lane


class TracedClient(Client):
    """A client for nodes. It differs only where promptflow traces: with PF_DISABLE_TRACING set to false.

    promptflow traces what goes through the methods of the SDK, which `Client` bypasses. It counts the tokens
    of a traced call whose type is LLM and whose output has `usage`.
    """

    async def _send(self, lane: Lane, path: str, body: dict[str, Any]) -> bytes:
        from openai.types import Completion, CreateEmbeddingResponse
        from openai.types.chat import ChatCompletion
        from promptflow.tracing._trace import _traced_async
        from promptflow.tracing.contracts.trace import TraceType

        import tools.token_counts  # noqa: F401 - so that promptflow counts the tokens

        kinds: dict[str, tuple[str, Any, Any]] = {
            "/chat/completions": ("openai_chat", TraceType.LLM, ChatCompletion),
            "/completions": ("openai_completion", TraceType.LLM, Completion),
            "/embeddings": ("openai_embeddings", TraceType.EMBEDDING, CreateEmbeddingResponse),
        }
        name, trace_type, model = kinds[path]
        raw = b""

        async def send(**body: Any) -> Any:
            nonlocal raw
            raw = await super(TracedClient, self)._send(lane, path, body)
            try:
                return model.model_validate_json(raw)
            except ValueError:
                return None  # `Client` finds out what it is

        await _traced_async(send, trace_type=trace_type, name=name)(**body)
        return raw
