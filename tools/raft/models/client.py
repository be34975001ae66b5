"""Call a model, and pay for no reply twice: from the cache, or with an identical call in flight."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

from ..prompts import Message
from ..text.thoughts import drop_thoughts
from .batcher import Batcher
from .budget import Budget
from .cache import Cache, Stored, address_key, canonical_json, model_key
from .endpoint import Endpoint
from .failed_calls import CallFailed
from .lane import Lane
from .openai_sdk import format_completion_prompt
from .parameters import THOUGHT_TOKENS
from .reply import Reply, parse_reply, parse_vectors
from .sender import Sender

log = logging.getLogger(__name__)

RETRY_TEMPERATURE = 0.7  # for a second attempt, which at temperature 0 would repeat the first
BATCHED = " (batch)"  # after the address of a reply in the cache that was half as dear

_warned_of: set[tuple[str, str]] = set()  # models and addresses whose replies were used in this process


@dataclass(frozen=True)
class _Question:
    """What a model is asked, whatever endpoint it is asked at."""

    messages: Sequence[Message]
    options: Mapping[str, Any]

    def build(self, endpoint: Endpoint, more_tokens: int = 0) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of the request to an endpoint."""
        body: dict[str, Any] = {"model": endpoint.model}
        if endpoint.api == "chat":
            body["messages"] = [dict(message) for message in self.messages]
        else:
            body["prompt"] = format_completion_prompt(self.messages)
        body |= self.options
        body["max_tokens"] += more_tokens
        return ("/chat/completions" if endpoint.api == "chat" else "/completions"), body


class Client:
    """Call a model at one or several endpoints: `async with Client(...) as client`."""

    def __init__(
        self,
        endpoints: Endpoint | Sequence[Endpoint],
        *,
        cache_dir: Path | None,
        concurrency: int = 32,
        timeout: float = 120.0,
        attempts: int = 6,
        hedge: bool = False,
        by_address: bool = False,
        budget: Budget | None = None,
        batcher: Batcher | None = None,
    ) -> None:
        """Set up the client; nothing is sent yet. `timeout` is in seconds, for each of the `attempts`.

        A 429 does not count as an attempt: such a call is repeated for up to PATIENCE seconds.
        concurrency: calls at a time, at all endpoints together. hedge: ask free endpoints for what others are
        slow to answer, once no call waits. by_address: use no reply that another address gave, even if its
        model has the same name. budget: what a run may cost; it may be shared with other clients.
        batcher: through which the first endpoint is asked, in place of single calls.
        """
        self.endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
        self._sender = Sender(
            self.endpoints,
            self._send,
            concurrency=concurrency,
            timeout=timeout,
            attempts=attempts,
            hedge=hedge,
            budget=budget,
            batcher=batcher,
        )
        self.usage = self._sender.usage
        self.lanes = self._sender.lanes
        self._cache = Cache(cache_dir) if cache_dir else None
        self._by_address = by_address
        self._in_flight: dict[bytes, asyncio.Future[Reply]] = {}
        self._thinks = False  # the model is known to need more tokens than its answer has
        self._addresses = {"", *(endpoint.identity["where"] for endpoint in self.endpoints)}

    @property
    def endpoint(self) -> Endpoint:
        """The first endpoint: the others serve its model, too."""
        return self.endpoints[0]

    async def __aenter__(self) -> Client:
        self._sender.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.close()
        if self._cache is not None:
            self._cache.close()

    async def ask(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        seed: int | None = None,
        stop: Sequence[str] = (),
        attempt: int = 0,
        extra: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Return the model's reply: from the cache, from an identical call in flight, or paid for.

        `attempt` distinguishes a deliberate second call from the first: it is part of the cache key and
        shifts the seed. `extra` is added to the request's body as it is (grammar, lora, …). A reply cut
        off at `max_tokens` is returned, with finish_reason "length". Raises CallFailed if this call has
        no usable reply, EndpointRefused if no call will have one.
        """
        options: dict[str, Any] = {"max_tokens": max_tokens, "temperature": temperature}
        if seed is not None or attempt:
            options["seed"] = (seed or 0) + attempt
        if stop:
            options["stop"] = list(stop)
        question = _Question(messages, options | dict(extra or {}))
        keys = self._keys(question, attempt)
        key = next(iter(keys))

        while (pending := self._in_flight.get(key)) is not None:
            try:
                reply = await asyncio.shield(pending)
            except asyncio.CancelledError:
                if not pending.cancelled():
                    raise
                continue  # the paying call was cancelled, this one was not
            self.usage.add_cached(reply)
            return replace(reply, cached=True, seconds=None)
        if self._cache is not None and (found := self._look_up(keys)):
            return found

        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            reply, endpoint = await self._ask_with_room(question)
            reply = replace(reply, model=endpoint.model)
            if self._cache is not None:  # before anything else, so that a paid reply is never lost
                self._store(question, attempt, endpoint, reply)
            future.set_result(reply)
            return reply
        except asyncio.CancelledError:
            future.cancel()
            raise
        except BaseException as error:
            self.usage.failed += isinstance(error, CallFailed)
            future.set_exception(error)
            future.exception()  # retrieved, so that asyncio does not warn if no other call awaits it
            raise
        finally:
            del self._in_flight[key]

    def _keys(self, question: _Question, attempt: int) -> dict[bytes, Endpoint]:
        """Return the keys under which a reply may be cached, each with the endpoint whose model it is of.

        Replies are found by model and request, so that it does not matter which endpoint gave them; earlier
        versions stored them by address.
        """
        keys: dict[bytes, Endpoint] = {}
        bodies: dict[tuple[str, str], str] = {}
        for endpoint in self.endpoints:
            form = endpoint.model, endpoint.api
            if form not in bodies:
                bodies[form] = canonical_json(question.build(endpoint)[1])
            if not self._by_address:
                keys.setdefault(model_key(bodies[form], attempt, endpoint.revision), endpoint)
        for endpoint in self.endpoints:
            body = bodies[endpoint.model, endpoint.api]
            keys.setdefault(address_key(body, attempt, endpoint.identity), endpoint)
        return keys

    def _look_up(self, keys: Mapping[bytes, Endpoint]) -> Reply | None:
        """Return a reply from the cache."""
        assert self._cache is not None
        for key, endpoint in keys.items():
            if stored := self._cache.get(key):
                text, thought = drop_thoughts(stored.text)  # earlier versions stored them
                known = _parse_logprobs(stored.logprobs)
                reply = Reply(
                    text, *stored[1:4], cached=True, logprobs=known, thought=thought, model=endpoint.model
                )
                self._count_cached(reply, endpoint, stored.place)
                return reply
        return None

    def _count_cached(self, reply: Reply, endpoint: Endpoint, place: str) -> None:
        batched, place = place.endswith(BATCHED), place.removesuffix(BATCHED)
        for usage in (self.usage, self.lanes[self.endpoints.index(endpoint)].usage):
            usage.add_cached(reply, batched=batched)
        if place not in self._addresses and (endpoint.model, place) not in _warned_of:
            _warned_of.add((endpoint.model, place))
            log.warning(
                "replies of %s that %s gave are used from the cache: if the models differ, give them "
                "different names or set RAFT_CACHE_DIR",
                endpoint.model, place,
            )  # fmt: skip

    def _store(self, question: _Question, attempt: int, endpoint: Endpoint, reply: Reply) -> None:
        """Keep a reply in the cache."""
        assert self._cache is not None
        body, identity = canonical_json(question.build(endpoint)[1]), endpoint.identity
        if self._by_address:
            key = address_key(body, attempt, identity)
        else:
            key = model_key(body, attempt, endpoint.revision)
        logprobs = json.dumps(reply.logprobs, ensure_ascii=False) if reply.logprobs else ""
        counts = reply.prompt_tokens, reply.completion_tokens
        place = identity["where"] + (BATCHED if self._sender.batcher else "")
        self._cache.put(key, Stored(reply.text, reply.finish_reason, *counts, logprobs, place))

    async def _ask_with_room(self, question: _Question) -> tuple[Reply, Endpoint]:
        """Send a request; if thoughts used up the tokens of its reply, once more with room for them.

        The tokens of both count. From then on the client leaves that room in every request.
        """
        roomy = partial(question.build, more_tokens=THOUGHT_TOKENS)
        if self._thinks:
            return await self._sender.request(roomy, parse_reply)
        reply, endpoint = await self._sender.request(question.build, parse_reply)
        if not reply.thought or reply.finish_reason != "length":
            return reply, endpoint
        try:
            longer, endpoint = await self._sender.request(roomy, parse_reply)
        except CallFailed:  # more than the model's context has
            return reply, endpoint
        self._thinks = True
        return replace(
            longer,
            prompt_tokens=reply.prompt_tokens + longer.prompt_tokens,
            completion_tokens=reply.completion_tokens + longer.completion_tokens,
        ), endpoint

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts in one call; return one vector per text, not normalised.

        Raises CallFailed if this call has no usable reply, EndpointRefused if no call will have one.
        """

        def build(endpoint: Endpoint) -> tuple[str, dict[str, Any]]:
            body = {"model": endpoint.model, "input": list(texts), "encoding_format": "float"}
            return "/embeddings", body

        vectors, _ = await self._sender.request(build, partial(parse_vectors, count=len(texts)))
        return vectors.vectors

    async def _send(self, lane: Lane, path: str, body: dict[str, Any]) -> bytes:
        """Send one request to an endpoint."""
        return await lane.send(path, body)


def _parse_logprobs(stored: str) -> tuple[tuple[str, float], ...]:
    return tuple((token, logprob) for token, logprob in json.loads(stored)) if stored else ()
