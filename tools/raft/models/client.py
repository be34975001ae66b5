"""Call a model: retries, pacing, cache and accounts around one call of the SDK."""

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

from ..errors import UserError
from ..prompts import Message
from .cache import Cache, Stored, cache_key
from .endpoint import Endpoint
from .openai_sdk import ApiError, classify_error, clean, format_completion_prompt, open_sdk
from .rate_limit import RateLimiter, backoff, retry_after

log = logging.getLogger(__name__)

MAX_CONCURRENCY = 1000  # connections the SDK's pool opens
MAX_WAIT = 300.0  # seconds: an endpoint that asks for more has no quota left for today
PATIENCE = 900.0  # seconds one call may spend on being told to wait


class CallFailed(Exception):
    """One call has no usable reply; `reason` says why in one line, without the key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EndpointRefused(UserError):
    """The endpoint will refuse every call (key, address, model, quota): stop the run."""


@dataclass(frozen=True)
class Reply:
    """What the model said. `cached` replies cost nothing now; their tokens are what they once cost."""

    text: str
    finish_reason: str  # "stop", "length", ...
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    # (token, natural logarithm of its probability), where `extra` asked for "logprobs"
    logprobs: tuple[tuple[str, float], ...] = ()
    seconds: float | None = None  # that the try took which gave it; not known of a cached one


@dataclass(frozen=True)
class _Vectors:
    """What an endpoint for embeddings gave."""

    vectors: list[list[float]]
    prompt_tokens: int
    completion_tokens: int = 0
    seconds: float | None = None


_Paid = TypeVar("_Paid", Reply, _Vectors)


@dataclass
class Usage:
    """What a client's calls came to: paid now, and taken from the cache."""

    calls: int = 0  # replies paid for now
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_calls: int = 0
    cached_prompt_tokens: int = 0
    cached_completion_tokens: int = 0
    retries: int = 0
    throttled: int = 0  # 429s, which are among the retries
    failed: int = 0  # asks that ended in CallFailed
    unmetered: int = 0  # paid replies whose endpoint told no tokens

    def to_dict(self) -> dict[str, int]:
        """Return the counts by name, for a manifest."""
        return asdict(self)


class _Retryable(Exception):
    """A try that may succeed when repeated."""

    def __init__(
        self, reason: str, *, wait: float | None = None, throttled: bool = False, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.throttled, self.unreachable = reason, wait, throttled, unreachable


class Client:
    """Ask one endpoint, up to `concurrency` calls at a time: `async with Client(...) as client`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cache_dir: Path | None,
        concurrency: int = 32,
        timeout: float = 120.0,
        attempts: int = 6,
    ) -> None:
        """Set up; nothing is sent yet. `timeout` is seconds a try may take, `attempts` how many there are.

        Being told to wait (429) is no attempt: such calls go on for up to PATIENCE seconds.
        """
        if concurrency < 1 or attempts < 1 or timeout <= 0:
            raise UserError("concurrency and attempts must be at least 1, and the timeout above 0")
        self.endpoint = endpoint
        self.usage = Usage()
        self.limiter = RateLimiter(min(concurrency, MAX_CONCURRENCY))
        self.unsupported: dict[str, str] = {}  # parameters this model does not take, and what stands for them
        self._timeout = timeout
        self._attempts = attempts
        self._cache = Cache(cache_dir) if cache_dir else None
        self._in_flight: dict[bytes, asyncio.Future[Reply]] = {}
        self._served = 0

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
        """Ask, and wait for the reply: from the cache, from an equal ask in flight, or paid.

        `attempt` tells a deliberate second ask from the first: it is part of the cache's key and shifts
        the seed. `extra` goes into the request's body as it is (grammar, lora, …). A reply cut at
        `max_tokens` is a reply, with finish_reason "length". Raises CallFailed when this call has
        no usable reply, EndpointRefused when none will.
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

        while (flying := self._in_flight.get(key)) is not None:
            try:
                reply = await asyncio.shield(flying)
            except asyncio.CancelledError:
                if not flying.cancelled():
                    raise
                continue  # whoever was paying was stopped, this ask was not
            self._count_cached(reply)
            return replace(reply, cached=True, seconds=None)
        if self._cache is not None and (stored := self._cache.get(key)):
            reply = Reply(*stored[:4], cached=True, logprobs=_read_logprobs(stored.logprobs))
            self._count_cached(reply)
            return reply

        promise: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = promise
        try:
            reply = await self._request("/chat/completions" if chat else "/completions", body, self._read)
            if self._cache is not None:  # before anything else happens to it
                counts = reply.prompt_tokens, reply.completion_tokens
                logprobs = json.dumps(reply.logprobs, ensure_ascii=False) if reply.logprobs else ""
                self._cache.put(key, Stored(reply.text, reply.finish_reason, *counts, logprobs))
            promise.set_result(reply)
            return reply
        except asyncio.CancelledError:
            promise.cancel()
            raise
        except BaseException as error:
            self.usage.failed += isinstance(error, CallFailed)
            promise.set_exception(error)
            promise.exception()  # read here, so that nobody waiting for it is no warning
            raise
        finally:
            del self._in_flight[key]

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Embed texts in one call: a vector for each, as long as the model makes them.

        Raises CallFailed when this call has no usable reply, EndpointRefused when none will.
        """
        body = {"model": self.endpoint.model, "input": list(texts), "encoding_format": "float"}
        return (await self._request("/embeddings", body, partial(_read_vectors, count=len(texts)))).vectors

    def _count_cached(self, reply: Reply) -> None:
        self.usage.cached_calls += 1
        self.usage.cached_prompt_tokens += reply.prompt_tokens
        self.usage.cached_completion_tokens += reply.completion_tokens

    async def _request(self, path: str, body: dict[str, Any], read: Callable[[bytes], _Paid]) -> _Paid:
        """Send until there is a reply that can be read."""
        failures = waits = 0
        mark = await self.limiter.acquire()
        began, served_before = time.monotonic(), self._served
        while True:
            try:
                sent_at = time.monotonic()
                reply = read(await self._send(path, body))
                reply = replace(reply, seconds=time.monotonic() - sent_at)
                self._served += 1
                self.limiter.succeeded()
                self.usage.calls += 1
                self.usage.prompt_tokens += reply.prompt_tokens
                self.usage.completion_tokens += reply.completion_tokens
                return reply
            except _Retryable as again:
                waits, failures = waits + again.throttled, failures + (not again.throttled)
                # Timers may fire some milliseconds early: what is added keeps all calls from being too soon.
                wait = (again.wait or backoff(waits if again.throttled else failures)) + 0.01
                if again.throttled:
                    self.usage.throttled += 1
                    self.limiter.throttled(mark, wait)
                elif again.unreachable and failures == 2 and not self._served:
                    log.warning("no answer yet from %s (%s): trying again", self.endpoint, again.reason)
                problem = again
            finally:
                self.limiter.release()
            if wait > MAX_WAIT:
                raise EndpointRefused(
                    f"{self.endpoint} asks to wait {wait:.0f} s: start again then ({problem.reason})"
                )
            spent = time.monotonic() - began + wait
            if failures >= self._attempts or spent > PATIENCE + self._attempts * self._timeout:
                if (
                    problem.unreachable and self._served == served_before
                ):  # nor did any other call get through
                    where = self.endpoint.base_url
                    raise EndpointRefused(
                        f"nothing answers at {where} ({problem.reason}): is the address right?"
                    )
                raise CallFailed(f"no usable reply in {failures + waits} tries, the last: {problem.reason}")
            self.usage.retries += 1
            await asyncio.sleep(wait)
            mark = await self.limiter.acquire(again=True)

    async def _send(self, path: str, body: dict[str, Any]) -> bytes:
        """Send once, or again at once without what this model turns out not to take."""
        while True:
            sent = self._adapted(body)
            try:
                # `post` with bytes leaves out the SDK's response models: 0.6 ms of CPU a call for 1.3.
                return await asyncio.wait_for(self._sdk.post(path, cast_to=bytes, body=sent), self._timeout)
            except Exception as error:
                told = classify_error(error)
                if told.status in (400, 422) and self._adapt(sent, told.message):
                    continue
                problem = self._to_exception(told)
            raise problem  # out here it has no context, which would hold what the server echoed

    def _adapted(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.unsupported:
            return body
        named = ((self.unsupported.get(name, name), value) for name, value in body.items())
        return {name: value for name, value in named if name}

    def _adapt(self, sent: dict[str, Any], message: str) -> bool:
        """Learn from a refusal which parameter the model does not take; False where it says no such thing."""
        instead = ""
        if "max_tokens" in sent and "max_completion_tokens" in message:
            name, instead = "max_tokens", "max_completion_tokens"
        elif re.search(
            r"(?i)unsupported|not support|unknown|unrecogni[sz]ed|not permitted|extra_forbidden", message
        ):
            named = (name for name in ("temperature", "seed", "stop") if re.search(rf"\b{name}\b", message))
            name = next((name for name in named if name in sent), "")
        else:
            return False
        if name and name not in self.unsupported:  # calls in flight at that moment learn it too
            self.unsupported[name] = instead
            log.warning(
                "%s does not take %s: %s from here on", self.endpoint, name, instead or "it is left out"
            )
        return bool(name)

    def _to_exception(self, told: ApiError) -> Exception:
        """Say what a failed try means: try again, this call failed, or every call will."""
        who, message = self.endpoint, self._clean(told.message)
        if told.kind == "timeout":
            return _Retryable(f"no answer in {self._timeout:g} s", unreachable=True)
        if told.kind == "connection":
            return _Retryable(f"no connection: {message}", unreachable=True)
        if told.kind == "sign-in":
            return EndpointRefused(
                f"{who} has no key, and signing in to Entra ID failed ({message}): "
                "`az login`, or set AZURE_OPENAI_API_KEY"
            )
        if told.kind == "other":
            return CallFailed(f"the call could not be made: {message}")
        line = f"HTTP {told.status}: {message}"
        if told.status == 429 and told.code == "insufficient_quota":
            return EndpointRefused(f"{who} has no paid quota left ({line}): check plan and billing")
        if told.status in (408, 409, 429) or told.status >= 500:
            return _Retryable(line, wait=retry_after(told.headers), throttled=told.status == 429)
        if told.status == 401 and not who.key:
            return EndpointRefused(
                f"{who} wants a key and none is set (HTTP 401: {message}): see .env.example"
            )
        if told.status in (401, 403):
            key = who.key_from or "the key"
            return EndpointRefused(f"{who} refused the call ({line}): check {key} and what it may use")
        if told.status == 402:
            return EndpointRefused(f"{who} wants to be paid first ({line})")
        if told.status == 404:
            return EndpointRefused(
                f"{who} does not exist ({line}): check the address and the name of the model"
            )
        return CallFailed(line)

    def _read(self, raw: bytes) -> Reply:
        """Read a reply, wherever it comes from; raises _Retryable for what is none."""
        try:
            answer = json.loads(raw)
            choice = answer["choices"][0]
            said = choice["message"] if self.endpoint.api == "chat" else choice
            text = said["content" if self.endpoint.api == "chat" else "text"]
            finish = str(choice.get("finish_reason") or "stop")
            usage = answer.get("usage") or {}
            told = (choice.get("logprobs") or {}).get("content") or []
            logprobs = tuple((str(each["token"]), float(each["logprob"])) for each in told)
            counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        except (ValueError, LookupError, TypeError, AttributeError):
            start = self._clean(raw[:80].decode("utf-8", "replace"))
            raise _Retryable(f"HTTP 200 with no usable reply: {start or 'empty'}") from None
        if finish == "content_filter":
            raise CallFailed("the endpoint's content filter stopped the reply")
        if isinstance(said, dict) and not text and said.get("refusal"):
            raise CallFailed(f"the model refused: {self._clean(str(said['refusal']))}")
        if not isinstance(text, str | None) or (not text and finish != "length"):
            raise _Retryable("HTTP 200 with an empty reply")
        self.usage.unmetered += not counts[0]
        text = (text or "").encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored
        return Reply(text, finish, *counts, cached=False, logprobs=logprobs)

    def _clean(self, text: str) -> str:
        """Make one short line of what a server said, without the key, whole or in part."""
        return clean(text, self.endpoint.key)


def _read_logprobs(stored: str) -> tuple[tuple[str, float], ...]:
    return tuple((token, logprob) for token, logprob in json.loads(stored)) if stored else ()


def _read_vectors(raw: bytes, *, count: int) -> _Vectors:
    """Read `count` vectors of one length; raises _Retryable for what is not that."""
    try:
        answer = json.loads(raw)
        rows = sorted(answer["data"], key=lambda row: row["index"])
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
        tokens = int((answer.get("usage") or {}).get("prompt_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _Retryable("HTTP 200 with no usable embeddings") from None
    if len(vectors) != count or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise _Retryable(f"HTTP 200 with {len(vectors)} embeddings for {count} texts, or of several lengths")
    return _Vectors(vectors, tokens)


RETRY_TEMPERATURE = 0.7  # a second try at temperature 0 would only repeat the first
