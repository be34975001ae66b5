"""Limit the number of calls in flight to an endpoint, and decide how long a throttled call waits."""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)


class RateLimiter:
    """Limit on the calls in flight: halved when the endpoint throttles, raised while it does not.

    Additive increase, multiplicative decrease: each success adds 1/limit, so 1 per round of calls, and a
    tenth of that from the limit of the last burst on. A burst of 429s halves the limit once: calls that
    started before the last cut say nothing about the new limit. A single 429 among many successes is not a
    burst (a load balancer may have one busy machine): the limit stays and only its own call waits. In a
    burst, all calls wait as long as Retry-After says.
    """

    BURST = 1 / 8  # share of 429s among recent calls, above which they are a burst

    def __init__(self, maximum: int) -> None:
        self.maximum = maximum
        self.limit = float(maximum)
        self.active = 0
        self.cuts = 0
        self.open_at = 0.0  # before which no call may be sent
        self._burst_limit = float("inf")  # the limit when the last burst came
        self._throttled_share = 0.0

    def has_room(self, now: float) -> bool:
        """Return whether a call may be sent now."""
        return self.active < int(self.limit) and now >= self.open_at

    def begin(self) -> int:
        """Record that a call is sent. Returns a mark to pass to `throttled`."""
        self.active += 1
        return self.cuts

    def end(self) -> None:
        """Record that a call ended."""
        self.active -= 1

    def succeeded(self) -> None:
        """Record a successful call."""
        self._throttled_share -= self._throttled_share / max(16.0, self.limit)
        step = 1.0 if self.limit + 1 < self._burst_limit else 0.1
        self.limit = min(float(self.maximum), self.limit + step / self.limit)

    def throttled(self, mark: int, wait: float) -> None:
        """Record a 429 of the call that began with `mark`; `wait` is the number of seconds it asks for."""
        if mark == self.cuts:
            self._throttled_share += (1 - self._throttled_share) / max(16.0, self.limit)
            if self._throttled_share <= self.BURST and self.limit >= 2:
                return
            self._burst_limit = self.limit
            self.limit, self._throttled_share = max(1.0, self.limit / 2), 0.0
            self.cuts += 1
            log.info("throttled: %d calls at a time from now on, the next in %.1f s", self.limit, wait)
        self.open_at = max(self.open_at, time.monotonic() + wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Parse the seconds to wait from `retry-after-ms` or `Retry-After` (seconds or an HTTP date)."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / unit
        except ValueError:
            parsed = email.utils.parsedate_tz(value) if value else None
            if parsed is None:
                continue
            seconds = email.utils.mktime_tz(parsed) - time.time()
        if seconds == seconds:  # not NaN
            return max(0.0, seconds)
    return None


def backoff(failures: int) -> float:
    """Draw a random pause in seconds: exponential backoff with full jitter, at most 30."""
    return random.uniform(0, min(30.0, 0.5 * 2**failures))
