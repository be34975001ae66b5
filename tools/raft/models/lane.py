"""One endpoint of a client: send a request once, and keep account of how the endpoint does."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .endpoint import Endpoint
from .failed_calls import CallFailed, EndpointRefused, Retryable
from .openai_sdk import ApiError, classify_error, clean, open_sdk, read_stream
from .pace import Pace
from .parameters import describe_replacement, find_unsupported, replace_unsupported
from .rate_limit import RateLimiter, retry_after
from .reply import BadReply, Reply, Vectors
from .usage import Usage

log = logging.getLogger(__name__)

FAILURES_TO_CLOSE = 3  # in a row: then the calls go to other endpoints, if there are any
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a closed lane is tried again; each pause doubles
# Seconds for an attempt at the embedded model. It is at work on this machine: a slow one is not helped by
# being asked again, and eight replies at a time take a weak laptop minutes.
EMBEDDED_TIMEOUT = 900.0

Response = TypeVar("Response", Reply, Vectors)


class Lane:
    """The way to one endpoint: its SDK, its limit, what it does not take, its failures and its pace."""

    def __init__(self, endpoint: Endpoint, *, concurrency: int, timeout: float) -> None:
        """Set up the lane; nothing is sent yet.

        `timeout` is in seconds, for each attempt; the embedded model has at least EMBEDDED_TIMEOUT.
        """
        self.endpoint = endpoint
        self.limiter = RateLimiter(concurrency)
        self.pace = Pace()
        self.usage = Usage()
        self.busy_seconds = 0.0  # during which it had calls
        self.unsupported: dict[str, str] = {}  # unsupported parameter → its replacement, or ""
        self.refusal = ""  # why it gets no more calls in this run
        self.closings = 0  # since it last answered
        self._timeout = timeout if endpoint.slots is None else max(timeout, EMBEDDED_TIMEOUT)
        self._failures_in_a_row = 0
        self._closed_until = 0.0
        self._probe: object | None = None  # the one call that a closed lane is tried with
        self._busy_since = 0.0

    def open(self) -> None:
        """Open the SDK, which belongs to the running event loop."""
        self._sdk = open_sdk(self.endpoint, self._timeout)

    async def close(self) -> None:
        """Close the SDK."""
        await self._sdk.close()

    # Calls in flight

    def begin(self, call: object) -> int:
        """Record that a call is sent; return a mark to pass to `limiter.throttled`."""
        now = time.monotonic()
        if not self.limiter.active:
            self._busy_since = now
        if self.closings:
            self._probe = call
        self.pace.begin(call, now)
        return self.limiter.begin()

    def end(self, call: object, tokens: int = 0, *, counts: bool = True) -> None:
        """Record that a call ended; see `Pace.end`."""
        now = time.monotonic()
        self.limiter.end()
        self.pace.end(call, now, tokens, counts=counts)
        if not self.limiter.active:
            self.busy_seconds += now - self._busy_since
        if self._probe is call:
            self._probe = None

    @property
    def tokens_per_second(self) -> float:
        """Return the tokens that it wrote per second in which it had calls."""
        return self.usage.completion_tokens / self.busy_seconds if self.busy_seconds else 0.0

    def account(self) -> dict[str, Any]:
        """Return what it did, by name, for a manifest: counts, tokens per second, and why it was given up."""
        return {
            "endpoint": self.endpoint.name or self.endpoint.base_url,
            "model": self.endpoint.model,
            **self.usage.to_dict(),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "refusal": self.refusal,
        }

    @property
    def is_unknown(self) -> bool:
        """Return whether it is not known how fast it is."""
        return not self.pace.measured.tokens

    # Open, closed, or refused

    def is_open(self, now: float) -> bool:
        """Return whether it takes calls; a lane that failed takes one at a time until that is answered."""
        return not self.refusal and (not self.closings or (now >= self._closed_until and self._probe is None))

    @property
    def opens_at(self) -> float:
        """When it can take the next call, apart from those it has."""
        return max(self._closed_until if self.closings else 0.0, self.limiter.open_at)

    def succeeded(self) -> None:
        """Record a usable reply: the lane is open."""
        self._failures_in_a_row = self.closings = 0
        self._probe = None
        self.limiter.succeeded()

    def failed(self, closings: int) -> bool:
        """Record an attempt without a usable reply, sent when the lane had been closed that many times.

        Return whether that closed the lane.
        """
        self.usage.failed += 1
        self._failures_in_a_row += 1
        if self._failures_in_a_row < FAILURES_TO_CLOSE or closings != self.closings:
            return False
        self.shut(min(LONGEST_PAUSE, FIRST_PAUSE * 2**self.closings))
        return True

    def shut(self, seconds: float) -> None:
        """Take no calls for some time, and then one at a time until one is answered."""
        self.closings += 1
        self._closed_until = time.monotonic() + seconds

    # One attempt

    async def send(self, path: str, body: dict[str, Any]) -> bytes:
        """Send once; repeat at once without a parameter that this model turns out not to support."""
        # `post` with bytes skips the SDK's response models: 0.6 ms of CPU a call instead of 1.3.
        return await self._attempt(body, lambda sent: self._sdk.post(path, cast_to=bytes, body=sent))

    async def stream(self, path: str, body: dict[str, Any], on_piece: Callable[[str], None]) -> bytes:
        """Send as `send` does, and pass on the pieces of the reply as they arrive.

        Raises CallFailed if it breaks off after the first piece: another try would show it twice.
        """
        begun = False

        def pass_on(piece: str) -> None:
            nonlocal begun
            begun = True
            on_piece(piece)

        try:
            return await self._attempt(body, lambda sent: read_stream(self._sdk, path, sent, pass_on))
        except Retryable as error:
            failure = error
        raise CallFailed(failure.reason) if begun else failure

    async def _attempt(
        self, body: dict[str, Any], call: Callable[[dict[str, Any]], Awaitable[bytes]]
    ) -> bytes:
        while True:
            sent = self.supported(body)
            try:
                return await asyncio.wait_for(call(sent), self._timeout)
            except Exception as error:
                failure = classify_error(error)
                if failure.status in (400, 422) and self.note_unsupported(sent, failure.message):
                    continue
                exception = self.to_exception(failure)
            raise exception  # outside the handler: its context would hold what the server echoed

    def parse(self, raw: bytes, parse: Callable[[bytes], Response]) -> Response:
        """Parse a reply. Raises the exception of a failed attempt if it is unusable."""
        try:
            return parse(raw)
        except BadReply as error:
            bad = error
        reason = self._clean(bad.reason)
        if bad.status:
            raise self.to_exception(ApiError("status", reason, bad.status))
        raise CallFailed(reason) if bad.final else Retryable(f"HTTP 200 with {reason}")

    def supported(self, body: dict[str, Any]) -> dict[str, Any]:
        """Replace or leave out the parameters that this model does not support."""
        return replace_unsupported(body, self.unsupported)

    def note_unsupported(self, sent: dict[str, Any], message: str) -> bool:
        """Record the parameter that a server's message calls unsupported; return whether there is one."""
        found = find_unsupported(sent, message)
        if found is None:
            return False
        name, replacement = found
        if name not in self.unsupported:  # calls in flight may report it again
            self.unsupported[name] = replacement
            log.warning("%s %s", self.endpoint, describe_replacement(name, replacement))
        return True

    def to_exception(self, error: ApiError) -> Exception:
        """Return the exception for a failed attempt: retry, this call failed, or every call will fail."""
        endpoint, message = self.endpoint, self._clean(error.message)
        if error.kind == "timeout":
            return Retryable(f"no answer in {self._timeout:g} s", unreachable=True)
        if error.kind == "connection":
            return Retryable(message, unreachable=True)
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
            return Retryable(line, wait=retry_after(error.headers), throttled=error.status == 429)
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

    def _clean(self, text: str) -> str:
        """Return a server's message as one short line, without the key or parts of it."""
        return clean(text, self.endpoint.key)
