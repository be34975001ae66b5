"""Measure how fast an endpoint is, and estimate when it will finish a call."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

KEPT = 0.95  # of what earlier calls weigh, at each call: about the last twenty count
FORGOTTEN = 60.0  # seconds without a call after which what was measured says nothing any more


@dataclass
class Measured:
    """Weighted sums over the calls that ended lately."""

    seconds: float = 0.0
    tokens: float = 0.0
    answered: float = 0.0
    ended: float = 0.0
    beside: float = 0.0  # calls in flight while one was, itself included

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            self.seconds + other.seconds,
            self.tokens + other.tokens,
            self.answered + other.answered,
            self.ended + other.ended,
            self.beside + other.beside,
        )


class Pace:
    """The calls an endpoint has in flight, and how long the last ones took.

    A server shares its speed among the calls it has, or answers them in turn. Either way a call takes as much
    longer as there are more calls beside it (Little's law), so the time of one call and the number beside it
    tell what one more call will take.
    """

    def __init__(self) -> None:
        self.measured = Measured()
        self._in_flight: dict[Hashable, tuple[float, int]] = {}  # oldest first: since when, beside how many
        self._last_end = 0.0

    @property
    def in_flight(self) -> int:
        """Return the number of calls in flight."""
        return len(self._in_flight)

    def begin(self, call: Hashable, now: float) -> None:
        """Record that a call is sent."""
        if not self._in_flight and now - self._last_end > FORGOTTEN:
            self.measured = Measured()
        self._in_flight[call] = (now, len(self._in_flight) + 1)

    def end(self, call: Hashable, now: float, tokens: int = 0, *, counts: bool = True) -> None:
        """Record that a call ended with so many tokens; 0: without a usable reply, its time spent in vain.

        counts: whether that says how fast the endpoint is; not for a call that was cancelled or throttled.
        """
        began, beside = self._in_flight.pop(call)
        self._last_end = now
        if counts:
            m = self.measured
            self.measured = Measured(
                m.seconds * KEPT + now - began,
                m.tokens * KEPT + tokens,
                m.answered * KEPT + (tokens > 0),
                m.ended * KEPT + 1,
                m.beside * KEPT + (beside + len(self._in_flight) + 1) / 2,
            )

    def seconds_for_one_more(self, now: float, pool: Measured) -> float:
        """Estimate the seconds of one more call; an unknown endpoint is taken to be as fast as the pool."""
        calls = self.in_flight + 1
        seconds = _seconds_of_a_call(self.measured if self.measured.tokens else pool, pool, calls)
        return max(seconds, self.waited(now) * calls / max(1, self.in_flight))

    def seconds_left(self, call: Hashable, now: float, pool: Measured) -> float:
        """Estimate the seconds until a call is answered; if it is overdue, as many as it took so far."""
        age = now - self._in_flight[call][0]
        total = _seconds_of_a_call(self.measured if self.measured.tokens else pool, pool, self.in_flight)
        return total - age if total > age else age

    def waited(self, now: float) -> float:
        """Return for how long the oldest call in flight has been waited for, in seconds."""
        return now - next(iter(self._in_flight.values()))[0] if self._in_flight else 0.0


def measure_pool(paces: Iterable[Pace]) -> Measured:
    """Return the sums over all endpoints."""
    total = Measured()
    for pace in paces:
        total += pace.measured
    return total


def _seconds_of_a_call(measured: Measured, pool: Measured, calls: int) -> float:
    """Estimate the seconds of an average call with so many in flight; 0.001 each while nothing is known."""
    if not measured.tokens:
        return calls / 1000
    length = pool.tokens / pool.answered
    return measured.seconds / measured.tokens * length * calls * measured.ended / measured.beside
