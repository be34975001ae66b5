"""Choose an endpoint for each call, among several that serve the same model."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .failed_calls import EndpointRefused
from .lane import Lane
from .pace import measure_pool

log = logging.getLogger(__name__)

ALIKE = 1.1  # lanes whose calls take up to this many times as long as the shortest get them in turn
FIRST = 4  # calls that an endpoint gets until it has answered one, beside others: it may be slow
LOOK_AGAIN = 0.2  # seconds between two looks for stragglers
WORTH_ASKING = 1.2  # a straggler is asked again if that is this many times faster than to wait for it


@dataclass(eq=False)
class Slot:
    """A call that a lane has been given, until it is released."""

    lane: Lane
    mark: int = 0  # of the lane's limiter
    closings: int = 0  # of the lane when the call was sent
    doubled: asyncio.Future[Slot] | None = None  # resolved with the slot to ask a second time in


@dataclass(eq=False)
class _Waiting:
    granted: asyncio.Future[Slot]
    avoid: Lane | None


class Pool:
    """Lanes to endpoints that serve the same model, and the calls that wait for one.

    A call goes to the open lane that will finish it first by what its last calls took. A retry goes before
    new calls, and not where it just failed. Up to `concurrency` calls are in flight. With one lane, this is
    its limiter and a queue.
    """

    def __init__(self, lanes: Sequence[Lane], concurrency: int, *, hedge: bool = False) -> None:
        """Set up the pool; `hedge`: whether free lanes are asked for stragglers once nothing else waits."""
        self.lanes = list(lanes)
        self.concurrency = concurrency
        self.hedged = 0  # calls asked a second time
        self._hedge = hedge and len(self.lanes) > 1
        self._active: dict[Slot, None] = {}  # oldest first
        self._waiting: deque[_Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def usable(self) -> list[Lane]:
        """Return the lanes whose endpoints have not refused the run."""
        return [lane for lane in self.lanes if not lane.refusal]

    async def acquire(self, *, retry: bool = False, avoid: Lane | None = None) -> Slot:
        """Wait for a slot, which must be released; `avoid` is used only if no other lane is open."""
        if not self._waiting and (slot := self._take(avoid)):
            return slot
        waiting = _Waiting(asyncio.get_running_loop().create_future(), avoid)
        (self._waiting.appendleft if retry else self._waiting.append)(waiting)
        self._wake()
        try:
            return await waiting.granted
        except asyncio.CancelledError:
            if not waiting.granted.cancelled():  # granted, but not used
                self.release(waiting.granted.result(), counts=False)
            elif waiting in self._waiting:
                self._waiting.remove(waiting)
            raise

    def release(self, slot: Slot, tokens: int = 0, *, counts: bool = True) -> None:
        """Give a slot back, if that has not been done yet; see `Pace.end`."""
        if slot not in self._active:
            return
        del self._active[slot]
        slot.lane.end(slot, tokens, counts=counts)
        self._wake()

    def has_other(self, lane: Lane) -> bool:
        """Return whether another lane than this could take a call, now or once it has room."""
        now = time.monotonic()
        return any(other is not lane and other.is_open(now) for other in self.lanes)

    def failed(self, slot: Slot, reason: str) -> None:
        """Record an attempt without a usable reply; a lane with several in a row is closed for a while."""
        if slot.lane.failed(slot.closings) and slot.lane.closings == 1 and self.has_other(slot.lane):
            log.warning("%s does not answer (%s): its calls go elsewhere for now", slot.lane.endpoint, reason)

    def drop(self, lane: Lane, refusal: EndpointRefused) -> None:
        """Go on without a lane whose endpoint refuses every call; raise the refusal if it is the last one."""
        if self.usable == [lane]:
            raise refusal
        if not lane.refusal:
            lane.refusal = str(refusal)
            log.warning("%s; going on without it", refusal)

    def close(self) -> None:
        """Look no more for stragglers or lanes that open."""
        if self._timer is not None:
            self._timer.cancel()

    def _take(self, avoid: Lane | None, *, second: bool = False) -> Slot | None:
        """Give a call the lane that will finish it first, if one has room."""
        if len(self._active) >= self.concurrency:
            return None
        now = time.monotonic()
        lanes = [lane for lane in self.lanes if lane.is_open(now)] or self.usable
        if len(lanes) > 1 and avoid in lanes:
            lanes.remove(avoid)
        most_unknown = FIRST if len(lanes) > 1 else self.concurrency
        lanes = [
            lane
            for lane in lanes
            if lane.limiter.has_room(now) and not (lane.is_unknown and lane.pace.in_flight >= most_unknown)
        ]
        if not lanes:
            return None
        slot = Slot(self._fastest(lanes, now) if len(lanes) > 1 else lanes[0])
        slot.mark, slot.closings = slot.lane.begin(slot), slot.lane.closings
        if self._hedge and not second:
            slot.doubled = asyncio.get_running_loop().create_future()
        self._active[slot] = None
        return slot

    def _fastest(self, lanes: Sequence[Lane], now: float) -> Lane:
        measured = measure_pool(lane.pace for lane in self.lanes)
        seconds = [lane.pace.seconds_for_one_more(now, measured) for lane in lanes]
        longest = min(seconds) * ALIKE
        alike = (lane for lane, took in zip(lanes, seconds, strict=True) if took <= longest)
        return min(alike, key=lambda lane: (lane.pace.in_flight, lane.usage.calls))

    def _wake(self) -> None:
        """Grant slots to those that wait, in their order; look again when the next lane opens."""
        held = []
        while self._waiting and len(self._active) < self.concurrency:
            waiting = self._waiting.popleft()
            if waiting.granted.done():
                continue
            if slot := self._take(waiting.avoid):
                waiting.granted.set_result(slot)
            else:
                held.append(waiting)
                if waiting.avoid is None:
                    break
        self._waiting.extendleft(reversed(held))
        if self._waiting:
            now = time.monotonic()
            if later := [lane.opens_at for lane in self.usable if lane.opens_at > now]:
                self._look_again(min(later) - now, self._wake)
        elif self._hedge and self._active:
            self._ask_stragglers()

    def _look_again(self, seconds: float, look: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, look)

    def _ask_stragglers(self) -> None:
        """Ask again for the calls that take longest, where another lane will be faster."""
        now = time.monotonic()
        measured = measure_pool(lane.pace for lane in self.lanes)
        while True:
            left = {
                slot: slot.lane.pace.seconds_left(slot, now, measured)
                for slot in self._active
                if slot.doubled and not slot.doubled.done()
            }
            slowest = max(left, key=left.__getitem__, default=None)
            if slowest is None:
                return
            others = [lane for lane in self.lanes if lane is not slowest.lane and lane.is_open(now)]
            again = [lane.pace.seconds_for_one_more(now, measured) for lane in others]
            if not again or min(again) * WORTH_ASKING > left[slowest]:
                break
            slot = self._take(slowest.lane, second=True)
            if slot is None:
                break
            self.hedged += 1
            assert slowest.doubled is not None
            slowest.doubled.set_result(slot)
        self._look_again(LOOK_AGAIN, self._wake)
