"""Send a request until it is answered: within a budget, at the best endpoint, with retries, or in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic

from ..errors import UserError
from .batcher import Batcher
from .budget import Budget
from .endpoint import Endpoint, fitting_concurrency
from .failed_calls import CallFailed, EndpointRefused, EndpointSilent, Retryable
from .failures import describe_body
from .lane import Lane, Response
from .openai_sdk import ApiError
from .pool import Pool, Slot
from .pricing import BATCH_SHARE
from .rate_limit import backoff
from .reply import Reply, Vectors
from .usage import Usage

log = logging.getLogger(__name__)

MAX_CONCURRENCY = 1000  # the size of the SDK's connection pool
MAX_WAIT = 300.0  # seconds: an endpoint that asks for more has no quota left for today
PATIENCE = 900.0  # seconds one call may spend waiting because of 429s
BATCH_TRIES = 3  # batches that a request is put into, if the first fail it

# The path and the body of a request to an endpoint.
Build = Callable[[Endpoint], tuple[str, dict[str, Any]]]
Send = Callable[[Lane, str, dict[str, Any]], Awaitable[bytes]]


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


class Sender:
    """Send requests to the endpoints of one model, and count what that used in `usage`."""

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        send: Send,
        *,
        concurrency: int,
        timeout: float,
        attempts: int,
        hedge: bool = False,
        budget: Budget | None = None,
        batcher: Batcher | None = None,
    ) -> None:
        """Set up; nothing is sent yet. `send` sends one request by a lane. The rest is as of `Client`."""
        if concurrency < 1 or attempts < 1 or timeout <= 0:
            raise UserError("concurrency and attempts must be at least 1, and the timeout above 0")
        concurrency = min(concurrency, MAX_CONCURRENCY)
        self.usage = Usage()
        self.endpoints = endpoints
        self.lanes = [
            Lane(endpoint, concurrency=fitting_concurrency([endpoint], concurrency), timeout=timeout)
            for endpoint in endpoints
        ]
        self.batcher = batcher
        self._send = send
        self._pool = Pool(self.lanes, concurrency, hedge=hedge)
        self._budget = budget
        self._timeout = timeout
        self._attempts = attempts
        self._served = 0

    def open(self) -> None:
        """Open the connections, which belong to the running event loop."""
        for lane in self.lanes:
            lane.open()

    async def close(self) -> None:
        """Close the connections, and stop waiting for batches."""
        self._pool.close()
        if self.batcher is not None:
            await self.batcher.close()
        for lane in self.lanes:
            await lane.close()

    async def request(self, build: Build, parse: Callable[[bytes], Response]) -> tuple[Response, Endpoint]:
        """Get the reply to a request within the budget; also return which endpoint gave it."""
        answer = self._answer_in_batches if self.batcher else self._repeat
        if self._budget is None:
            return await answer(build, parse)
        share = BATCH_SHARE if self.batcher else 1.0
        async with self._budget.reserved(self.endpoints, build(self.endpoints[0])[1], share=share) as settle:
            reply, endpoint = await answer(build, parse)
            settle(endpoint, reply)
            return reply, endpoint

    async def _answer_in_batches(
        self, build: Build, parse: Callable[[bytes], Response]
    ) -> tuple[Response, Endpoint]:
        """Put a request into batches until its reply can be parsed."""
        assert self.batcher is not None
        lane, body = self.lanes[0], build(self.endpoints[0])[1]
        reason = ""
        for again in range(BATCH_TRIES):
            sent = lane.supported(body)
            found = await self.batcher.ask(sent, again=again)
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


def _length(reply: Reply | Vectors) -> int:
    """Return the tokens of a reply, or about as many if its endpoint reports none."""
    if isinstance(reply, Reply):
        return reply.completion_tokens or len(reply.text) // 4 + 1
    return reply.prompt_tokens or len(reply.vectors)
