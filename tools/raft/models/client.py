"""Call a model: caching, retries and usage counts around single attempts at one or several endpoints."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Generic

from ..errors import UserError
from ..prompts import Message
from ..text.thoughts import drop_thoughts
from .batcher import Batcher
from .budget import Budget
from .cache import Cache, Stored, address_key, canonical_json, model_key
from .embedded import fitting_concurrency
from .endpoint import Endpoint
from .failed_calls import CallFailed, EndpointRefused, EndpointSilent, Retryable
from .failures import describe_body
from .lane import Lane, Response
from .openai_sdk import ApiError, format_completion_prompt
from .pool import Pool, Slot
from .pricing import BATCH_SHARE
from .rate_limit import backoff
from .reply import Reply, Vectors, parse_reply, parse_vectors
from .usage import Usage

log = logging.getLogger(__name__)

MAX_CONCURRENCY = 1000  # the size of the SDK's connection pool
MAX_WAIT = 300.0  # seconds: an endpoint that asks for more has no quota left for today
PATIENCE = 900.0  # seconds one call may spend waiting because of 429s
RETRY_TEMPERATURE = 0.7  # for a second attempt, which at temperature 0 would repeat the first
BATCH_TRIES = 3  # batches that a request is put into, if the first fail it
BATCHED = " (batch)"  # after the address of a reply in the cache that was half as dear
THOUGHT_TOKENS = 4096  # room for the thoughts of a model that used up its tokens before it answered

_warned_of: set[tuple[str, str]] = set()  # models and addresses whose replies were used in this process

# The path and the body of a request to an endpoint.
Build = Callable[[Endpoint], tuple[str, dict[str, Any]]]


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


@dataclass
class _Call(Generic[Response]):
    """A request that is repeated until it has a usable reply."""

    build: Build
    parse: Callable[[bytes], Response]
    failures: int = 0
    waits: int = 0  # 429s
    pause: float = 0.0  # seconds until it may be repeated at the same endpoint

    @property
    def tries(self) -> int:
        """How often it was sent in vain."""
        return self.failures + self.waits

    def failed(self, error: Retryable) -> None:
        """Count a failed attempt; the pause after it grows with each, unless the endpoint asks for one."""
        self.waits += error.throttled
        self.failures += not error.throttled
        # Timers may fire a few milliseconds early; 10 ms more keep calls from coming too soon.
        self.pause = (error.wait or backoff(self.waits if error.throttled else self.failures)) + 0.01


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
        if concurrency < 1 or attempts < 1 or timeout <= 0:
            raise UserError("concurrency and attempts must be at least 1, and the timeout above 0")
        self.endpoints = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
        self.usage = Usage()
        concurrency = min(concurrency, MAX_CONCURRENCY)
        self.lanes = [
            Lane(endpoint, concurrency=fitting_concurrency([endpoint], concurrency), timeout=timeout)
            for endpoint in self.endpoints
        ]
        self._pool = Pool(self.lanes, concurrency, hedge=hedge)
        self._timeout = timeout
        self._attempts = attempts
        self._cache = Cache(cache_dir) if cache_dir else None
        self._by_address = by_address
        self._budget = budget
        self._batcher = batcher
        self._in_flight: dict[bytes, asyncio.Future[Reply]] = {}
        self._served = 0
        self._thinks = False  # the model is known to need more tokens than its answer has
        self._addresses = {"", *(endpoint.identity["where"] for endpoint in self.endpoints)}

    @property
    def endpoint(self) -> Endpoint:
        """The first endpoint: the others serve its model, too."""
        return self.endpoints[0]

    async def __aenter__(self) -> Client:
        for lane in self.lanes:
            lane.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.close()
        if self._batcher is not None:
            await self._batcher.close()
        for lane in self.lanes:
            await lane.close()
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
        place = identity["where"] + (BATCHED if self._batcher else "")
        self._cache.put(key, Stored(reply.text, reply.finish_reason, *counts, logprobs, place))

    async def _ask_with_room(self, question: _Question) -> tuple[Reply, Endpoint]:
        """Send a request; if thoughts used up the tokens of its reply, once more with room for them.

        The tokens of both count. From then on the client leaves that room in every request.
        """
        roomy = partial(question.build, more_tokens=THOUGHT_TOKENS)
        if self._thinks:
            return await self._request(roomy, parse_reply)
        reply, endpoint = await self._request(question.build, parse_reply)
        if not reply.thought or reply.finish_reason != "length":
            return reply, endpoint
        try:
            longer, endpoint = await self._request(roomy, parse_reply)
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

        vectors, _ = await self._request(build, partial(parse_vectors, count=len(texts)))
        return vectors.vectors

    async def _request(self, build: Build, parse: Callable[[bytes], Response]) -> tuple[Response, Endpoint]:
        """Get the reply to a request within the budget; also return which endpoint gave it."""
        answer = self._answer_in_batches if self._batcher else self._repeat
        if self._budget is None:
            return await answer(build, parse)
        share = BATCH_SHARE if self._batcher else 1.0
        async with self._budget.reserved(self.endpoints, build(self.endpoint)[1], share=share) as settle:
            reply, endpoint = await answer(build, parse)
            settle(endpoint, reply)
            return reply, endpoint

    async def _answer_in_batches(
        self, build: Build, parse: Callable[[bytes], Response]
    ) -> tuple[Response, Endpoint]:
        """Put a request into batches until its reply can be parsed."""
        assert self._batcher is not None
        lane, body = self.lanes[0], build(self.endpoint)[1]
        reason = ""
        for again in range(BATCH_TRIES):
            sent = lane.supported(body)
            found = await self._batcher.ask(sent, again=again)
            try:
                if found.status != 200:
                    message = found.error or describe_body(found.body)
                    if found.status in (400, 422) and lane.note_unsupported(sent, message):
                        continue
                    if not found.status:
                        raise Retryable(message)
                    raise lane.to_exception(ApiError("status", message, found.status))
                reply = lane.parse(found.body, parse)
            except Retryable as failure:
                reason = failure.reason
                lane.usage.failed += 1
                self.usage.retries += 1
                continue
            for usage in (self.usage, lane.usage):
                usage.add_paid(reply, batched=True)
            return reply, lane.endpoint
        raise CallFailed(f"no usable reply in {BATCH_TRIES} batches, the last: {reason}")

    async def _repeat(self, build: Build, parse: Callable[[bytes], Response]) -> tuple[Response, Endpoint]:
        """Send a request until its reply can be parsed."""
        call = _Call(build, parse)
        slot = await self._pool.acquire()
        started, served_before = time.monotonic(), self._served
        while True:
            lane = slot.lane
            try:
                reply, endpoint = await self._attempt(slot, call)
                self._served += 1
                self.usage.add_paid(reply)
                return reply, endpoint
            except Retryable as error:
                failure = error
            except EndpointRefused as refusal:
                self._pool.drop(lane, refusal)
                slot = await self._pool.acquire(retry=True)
                continue
            self.usage.throttled += failure.throttled
            if failure.unreachable and call.failures == 2 and not self._served:
                log.warning("no answer yet from %s (%s): trying again", lane.endpoint, failure.reason)
            elsewhere = self._pool.has_other(lane)
            if call.pause > MAX_WAIT:
                if not elsewhere:
                    raise EndpointRefused(
                        f"{lane.endpoint} asks to wait {call.pause:.0f} s ({failure.reason}): "
                        "run again after that"
                    )
                lane.shut(call.pause)
            pause = 0.0 if elsewhere else call.pause
            spent = time.monotonic() - started + pause
            if call.failures >= self._attempts or spent > PATIENCE + self._attempts * self._timeout:
                # Only if no other call got through either is the endpoint at fault.
                if failure.unreachable and self._served == served_before:
                    urls = " or ".join(lane.endpoint.base_url for lane in self._pool.usable)
                    raise EndpointSilent(f"nothing answers at {urls} ({failure.reason}): check the address")
                raise CallFailed(f"no usable reply in {call.tries} tries, the last: {failure.reason}")
            self.usage.retries += 1
            lane.usage.retries += 1
            if pause:
                await asyncio.sleep(pause)
            slot = await self._pool.acquire(retry=True, avoid=lane)

    async def _attempt(self, slot: Slot, call: _Call[Response]) -> tuple[Response, Endpoint]:
        """Make an attempt in a slot and, if the pool asks for it, the same in a second slot beside it.

        The first usable reply counts, and the other attempt is cancelled. Raises what the first slot's did.
        """
        if slot.doubled is None:
            return await self._try(slot, call), slot.lane.endpoint
        first = asyncio.ensure_future(self._try(slot, call))
        tries: dict[asyncio.Future[Response], Slot] = {first: slot}
        try:
            either: set[asyncio.Future[Any]] = {first, slot.doubled}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not first.done():
                second = slot.doubled.result()
                tries[asyncio.ensure_future(self._try(second, call))] = second
            pending = set(tries)
            while pending:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    if not attempt.exception():
                        return attempt.result(), tries[attempt].lane.endpoint
            return first.result(), slot.lane.endpoint
        finally:
            for attempt in tries:
                attempt.cancel()
            await asyncio.gather(*tries, return_exceptions=True)
            # Those that were granted but never used, or cancelled before they began.
            unused: list[Slot] = [] if slot.doubled.cancel() else [slot.doubled.result()]
            for left in (*tries.values(), *unused):
                self._pool.release(left, counts=False)

    async def _try(self, slot: Slot, call: _Call[Response]) -> Response:
        """Make one attempt, keep account of it, and give its slot back."""
        lane = slot.lane
        tokens, counts = 0, False
        sent_at = time.monotonic()
        try:
            reply = lane.parse(await self._send(lane, *call.build(lane.endpoint)), call.parse)
            reply = replace(reply, seconds=time.monotonic() - sent_at)
            tokens, counts = _length(reply), True
            lane.usage.add_paid(reply)
            lane.succeeded()
            return reply
        except Retryable as error:
            call.failed(error)
            if error.throttled:
                lane.usage.throttled += 1
                lane.limiter.throttled(slot.mark, call.pause)
            else:
                counts = True
                self._pool.failed(slot, error.reason)
            raise
        finally:
            self._pool.release(slot, tokens, counts=counts)

    async def _send(self, lane: Lane, path: str, body: dict[str, Any]) -> bytes:
        """Send one request to an endpoint."""
        return await lane.send(path, body)


def _length(reply: Reply | Vectors) -> int:
    """Return the tokens of a reply, or about as many if its endpoint reports none."""
    if isinstance(reply, Reply):
        return reply.completion_tokens or len(reply.text) // 4 + 1
    return reply.prompt_tokens or len(reply.vectors)


def _parse_logprobs(stored: str) -> tuple[tuple[str, float], ...]:
    return tuple((token, logprob) for token, logprob in json.loads(stored)) if stored else ()
