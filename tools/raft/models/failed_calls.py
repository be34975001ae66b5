"""How a call can fail: for now, for good, or for every call."""

from __future__ import annotations

from ..errors import CallsFailed, UserError


class CallFailed(Exception):
    """A call got no usable reply; `reason` says why in one line, without the key."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EndpointRefused(UserError):
    """The endpoint will refuse every call (key, address, model, quota): stop the run."""


class EndpointSilent(EndpointRefused, CallsFailed):
    """Nothing answers at the endpoint's address: stop the run."""


class Retryable(Exception):
    """A failed attempt that may succeed when repeated."""

    def __init__(
        self, reason: str, *, wait: float | None = None, throttled: bool = False, unreachable: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.throttled, self.unreachable = reason, wait, throttled, unreachable
