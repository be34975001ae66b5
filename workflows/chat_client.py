"""A chat client of Agent Framework that calls models through the project's own client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, cast

from agent_framework import BaseChatClient, ChatResponse, ChatResponseUpdate, Content, Message, UsageDetails
from agent_framework.observability import ChatTelemetryLayer

from tools.raft.models.reply import Reply
from tools.raft.models.streaming import StreamingClient
from tools.raft.prompts import Message as Prompt


class EndpointChatClient(ChatTelemetryLayer, BaseChatClient):
    """Ask an endpoint, or several of one model, with the pacing, retries and cache of `Client`.

    Whatever takes a chat client takes it: workflows, agents, middleware. With Agent Framework's tracing on,
    each call is a span with its tokens. Options: `max_tokens` and `temperature`.
    """

    OTEL_PROVIDER_NAME = "openai"

    def __init__(self, client: StreamingClient) -> None:
        super().__init__()
        self._client = client
        self.model = client.endpoint.model

    def service_url(self) -> str:
        """Return the address of the first endpoint."""
        return self._client.endpoint.base_url

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_: Any
    ) -> Any:
        prompt = [Prompt(role=str(message.role), content=message.text) for message in messages]
        limits = {name: options[name] for name in ("max_tokens", "temperature") if name in options}
        if stream:
            return self._build_response_stream(self._pieces(prompt, limits))
        return self._answer(prompt, limits)

    async def _answer(self, prompt: Sequence[Prompt], limits: Mapping[str, Any]) -> ChatResponse:
        reply = await self._client.ask(prompt, **limits)
        return ChatResponse(
            messages=[Message("assistant", [reply.text])],
            model=reply.model,
            finish_reason=cast(Any, reply.finish_reason),
            usage_details=_usage(reply),
        )

    async def _pieces(
        self, prompt: Sequence[Prompt], limits: Mapping[str, Any]
    ) -> AsyncIterator[ChatResponseUpdate]:
        """Yield the pieces of a reply as they arrive; its tokens come last."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        call = asyncio.ensure_future(self._client.ask_streamed(prompt, pieces.put_nowait, **limits))
        call.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield ChatResponseUpdate(role="assistant", contents=[Content.from_text(piece)])
            reply = await cast(Awaitable[Reply], call)
            yield ChatResponseUpdate(
                role="assistant",
                contents=[Content.from_usage(_usage(reply))],
                model=reply.model,
                finish_reason=cast(Any, reply.finish_reason),
            )
        finally:
            call.cancel()


def _usage(reply: Reply) -> UsageDetails:
    return UsageDetails(
        input_token_count=reply.prompt_tokens,
        output_token_count=reply.completion_tokens,
        total_token_count=reply.prompt_tokens + reply.completion_tokens,
    )
