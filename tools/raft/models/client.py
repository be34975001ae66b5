"""Call a model: retries, rate limiting, caching and usage counts around one call of the SDK."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..errors import CallsFailed, UserError
from ..prompts import Message
from ..text.thoughts import drop_thoughts
from .cache import Cache, Stored, cache_key
from .endpoint import Endpoint
from .openai_sdk import ApiError, classify_error, clean, format_completion_prompt, open_sdk
from .rate_limit import RateLimiter, backoff, retry_after
from .reply import BadReply, Reply, Vectors, parse_reply, parse_vectors

log = logging.getLogger(__name__)

MAX_CONCURRENCY = 1000  # the size of the SDK's connection pool
MAX_WAIT = 300.0  # seconds: an endpoint that asks for more has no quota left for today
PATIENCE = 900.0  # seconds one call may spend waiting because of 429s
RETRY_TEMPERATURE = 0.7  # for a second attempt, which at temperature 0 would repeat the first
THOUGHT_TOKENS = 4096  # room for the thoughts of a model that used up its tokens before it answered


class CallFailed(Exception):
    """A call got no usable reply; `reason` says why in one line, without the key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EndpointRefused(UserError):
    """The endpoint will refuse every call (key, address, model, quota): stop the run."""


class EndpointSilent(EndpointRefused, CallsFailed):
    """Nothing answers at the endpoint's address: stop the run."""


_Response = TypeVar("_Response", Reply, Vectors)


@dataclass
class Usage:
    """Totals of a client's calls: those paid for now, and those answered from the cache."""

    calls: int = 0  # replies paid for now
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_calls: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    retries: int = 0
    throttled: int = 0  # 429s, included in the retries
    failed: int = 0  # calls that ended in CallFailed
    unmetered: int = 0  # paid replies whose endpoint reported no tokens

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name, for a manifest."""
        return asdict(self)


class _Retryable(Exception):
    """A failed attempt that may succeed when repeated."""

    def __init__(
        self, reason: str, *, wait: float | None = None, throttled: bool = False, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.throttled, self.unreachable = reason, wait, throttled, unreachable


class Client:
    """Call one endpoint, up to `concurrency` calls at a time: `async with Client(...) as client`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cache_dir: Path | None,
        concurrency: int = 32,
        timeout: float = 120.0,
        attempts: int = 6,
    ) -> None:
        """Set up the client; nothing is sent yet. `timeout` is in seconds, for each of the `attempts`.

        A 429 does not count as an attempt: such a call is repeated for up to PATIENCE seconds.
        """
        if concurrency < 1 or attempts < 1 or timeout <= 0:
            raise UserError("concurrency and attempts must be at least 1, and the timeout above 0")
        self.endpoint = endpoint
        self.usage = Usage()
        self.limiter = RateLimiter(min(concurrency, MAX_CONCURRENCY))
        self.unsupported: dict[str, str] = {}  # unsupported parameter → its replacement, or ""
        self._timeout = timeout
        self._attempts = attempts
        self._cache = Cache(cache_dir) if cache_dir else None
        self._in_flight: dict[bytes, asyncio.Future[Reply]] = {}
        self._served = 0
        self._thinks = False  # the model is known to need more tokens than its answer has

    async def __aenter__(self) -> Client:
        self._sdk = open_sdk(self.endpoint, self._timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sdk.close()
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
        body: dict[str, Any] = {"model": self.endpoint.model}
        if chat := self.endpoint.api == "chat":
            body["messages"] = [dict(message) for message in messages]
        else:
            body["prompt"] = format_completion_prompt(messages)
        body |= {"max_tokens": max_tokens, "temperature": temperature}
        if seed is not None or attempt:
            body["seed"] = (seed or 0) + attempt
        if stop:
            body["stop"] = list(stop)
        body |= extra or {}
        key = cache_key({"endpoint": self.endpoint.identity, "body": body, "attempt": attempt})

        while (pending := self._in_flight.get(key)) is not None:
            try:
                reply = await asyncio.shield(pending)
            except asyncio.CancelledError:
                if not pending.cancelled():
                    raise
                continue  # the paying call was cancelled, this one was not
            self._count_cached(reply)
            return replace(reply, cached=True, seconds=None)
        if self._cache is not None and (stored := self._cache.get(key)):
            text, thought = drop_thoughts(stored.text)  # earlier versions stored them
            known = _parse_logprobs(stored.logprobs)
            reply = Reply(text, *stored[1:4], cached=True, logprobs=known, thought=thought)
            self._count_cached(reply)
            return reply

        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            path = "/chat/completions" if chat else "/completions"
            reply = await self._ask_with_room(path, body)
            if self._cache is not None:  # before anything else, so that a paid reply is never lost
                counts = reply.prompt_tokens, reply.completion_tokens
                logprobs = json.dumps(reply.logprobs, ensure_ascii=False) if reply.logprobs else ""
                self._cache.put(key, Stored(reply.text, reply.finish_reason, *counts, logprobs))
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

    async def _ask_with_room(self, path: str, body: dict[str, Any]) -> Reply:
        """Send a request; if thoughts used up the tokens of its reply, once more with room for them.

        The tokens of both count. From then on the client leaves that room in every request.
        """
        roomy = {**body, "max_tokens": body["max_tokens"] + THOUGHT_TOKENS}
        if self._thinks:
            return await self._request(path, roomy, parse_reply)
        reply = await self._request(path, body, parse_reply)
        if not reply.thought or reply.finish_reason != "length":
            return reply
        try:
            longer = await self._request(path, roomy, parse_reply)
        except CallFailed:  # more than the model's context has
            return reply
        self._thinks = True
        return replace(
            longer,
            prompt_tokens=reply.prompt_tokens + longer.prompt_tokens,
            completion_tokens=reply.completion_tokens + longer.completion_tokens,
        )

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts in one call; return one vector per text, not normalised.

        Raises CallFailed if this call has no usable reply, EndpointRefused if no call will have one.
        """
        body = {"model": self.endpoint.model, "input": list(texts), "encoding_format": "float"}
        return (await self._request("/embeddings", body, partial(parse_vectors, count=len(texts)))).vectors

    def _count_cached(self, reply: Reply) -> None:
        self.usage.cached_calls += 1
        self.usage.cached_prompt_tokens += reply.prompt_tokens
        self.usage.cached_completion_tokens += reply.completion_tokens

    async def _request(
        self, path: str, body: dict[str, Any], parse: Callable[[bytes], _Response]
    ) -> _Response:
        """Send a request, with retries, until its reply can be parsed."""
        failures = waits = 0
        mark = await self.limiter.acquire()
        started, served_before = time.monotonic(), self._served
        while True:
            try:
                sent_at = time.monotonic()
                reply = self._parse(await self._send(path, body), parse)
                reply = replace(reply, seconds=time.monotonic() - sent_at)
                self._served += 1
                self.limiter.succeeded()
                self.usage.calls += 1
                self.usage.prompt_tokens += reply.prompt_tokens
                self.usage.completion_tokens += reply.completion_tokens
                self.usage.unmetered += isinstance(reply, Reply) and not reply.prompt_tokens
                return reply
            except _Retryable as error:
                waits, failures = waits + error.throttled, failures + (not error.throttled)
                # Timers may fire a few milliseconds early; 10 ms more keep calls from coming too soon.
                wait = (error.wait or backoff(waits if error.throttled else failures)) + 0.01
                if error.throttled:
                    self.usage.throttled += 1
                    self.limiter.throttled(mark, wait)
                elif error.unreachable and failures == 2 and not self._served:
                    log.warning("no answer yet from %s (%s): trying again", self.endpoint, error.reason)
                failure = error
            finally:
                self.limiter.release()
            if wait > MAX_WAIT:
                raise EndpointRefused(
                    f"{self.endpoint} asks to wait {wait:.0f} s ({failure.reason}): run again after that"
                )
            spent = time.monotonic() - started + wait
            if failures >= self._attempts or spent > PATIENCE + self._attempts * self._timeout:
                # Only if no other call got through either is the endpoint at fault.
                if failure.unreachable and self._served == served_before:
                    url = self.endpoint.base_url
                    raise EndpointSilent(f"nothing answers at {url} ({failure.reason}): check the address")
                raise CallFailed(f"no usable reply in {failures + waits} tries, the last: {failure.reason}")
            self.usage.retries += 1
            await asyncio.sleep(wait)
            mark = await self.limiter.acquire(retry=True)

    async def _send(self, path: str, body: dict[str, Any]) -> bytes:
        """Send once; repeat at once without a parameter that this model turns out not to support."""
        while True:
            sent = self._drop_unsupported(body)
            try:
                # `post` with bytes skips the SDK's response models: 0.6 ms of CPU a call instead of 1.3.
                return await asyncio.wait_for(self._sdk.post(path, cast_to=bytes, body=sent), self._timeout)
            except Exception as error:
                failure = classify_error(error)
                if failure.status in (400, 422) and self._note_unsupported(sent, failure.message):
                    continue
                exception = self._to_exception(failure)
            raise exception  # outside the handler: its context would hold what the server echoed

    def _drop_unsupported(self, body: dict[str, Any]) -> dict[str, Any]:
        """Replace or leave out the parameters that this model does not support."""
        if not self.unsupported:
            return body
        renamed = ((self.unsupported.get(name, name), value) for name, value in body.items())
        return {name: value for name, value in renamed if name}

    def _note_unsupported(self, sent: dict[str, Any], message: str) -> bool:
        """Record the parameter that a server's message calls unsupported; return whether there is one."""
        replacement = ""
        if "max_tokens" in sent and "max_completion_tokens" in message:
            name, replacement = "max_tokens", "max_completion_tokens"
        elif re.search(
            r"(?i)unsupported|not support|unknown|unrecogni[sz]ed|not permitted|extra_forbidden", message
        ):
            mentioned = (p for p in ("temperature", "seed", "stop") if re.search(rf"\b{p}\b", message))
            name = next((parameter for parameter in mentioned if parameter in sent), "")
        else:
            return False
        if name and name not in self.unsupported:  # calls in flight may report it again
            self.unsupported[name] = replacement
            action = f"using {replacement}" if replacement else "leaving it out"
            log.warning("%s does not support %s: %s from now on", self.endpoint, name, action)
        return bool(name)

    def _to_exception(self, error: ApiError) -> Exception:
        """Return the exception for a failed attempt: retry, this call failed, or every call will fail."""
        endpoint, message = self.endpoint, self._clean(error.message)
        if error.kind == "timeout":
            return _Retryable(f"no answer in {self._timeout:g} s", unreachable=True)
        if error.kind == "connection":
            return _Retryable(message, unreachable=True)
        if error.kind == "sign-in":
            return EndpointRefused(
                f"{endpoint} has no key, and signing in to Entra ID failed ({message}): "
                "run `az login` or set AZURE_OPENAI_API_KEY"
            )
        if error.kind == "other":
            return CallFailed(f"the call could not be made: {message}")
        line = f"HTTP {error.status}: {message}"
        if error.status == 429 and error.code == "insufficient_quota":
            return EndpointRefused(f"{endpoint} has no paid quota left ({line}): check plan and billing")
        if error.status in (408, 409, 429) or error.status >= 500:
            return _Retryable(line, wait=retry_after(error.headers), throttled=error.status == 429)
        if error.status == 401 and not endpoint.key:
            return EndpointRefused(f"{endpoint} requires a key, but none is set ({line}): see .env.example")
        if error.status in (401, 403):
            key = endpoint.key_from or "the key"
            return EndpointRefused(f"{endpoint} refused the call ({line}): check {key} and its permissions")
        if error.status == 402:
            return EndpointRefused(f"{endpoint} requires payment ({line}): check plan and billing")
        if error.status == 404:
            return EndpointRefused(f"{endpoint} does not exist ({line}): check address and model name")
        return CallFailed(line)

    def _parse(self, raw: bytes, parse: Callable[[bytes], _Response]) -> _Response:
        """Parse a reply. Raises the exception of a failed attempt if it is unusable."""
        try:
            return parse(raw)
        except BadReply as error:
            bad = error
        reason = self._clean(bad.reason)
        if bad.status:
            raise self._to_exception(ApiError("status", reason, bad.status))
        raise CallFailed(reason) if bad.final else _Retryable(f"HTTP 200 with {reason}")

    def _clean(self, text: str) -> str:
        """Return a server's message as one short line, without the key or parts of it."""
        return clean(text, self.endpoint.key)


def _parse_logprobs(stored: str) -> tuple[tuple[str, float], ...]:
    return tuple((token, logprob) for token, logprob in json.loads(stored)) if stored else ()
