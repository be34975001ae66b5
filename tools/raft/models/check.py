"""Check before an endpoint is served that its model answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping

from ..errors import UserError, one_line
from ..prompts import Message
from .endpoint import Endpoint
from .failed_calls import CallFailed, EndpointRefused

PATIENCE = 60.0  # seconds: a model that is merely busy keeps no endpoint from starting


def wants_check(env: Mapping[str, str]) -> bool:
    """Return whether the model is to be called before the first request: unless RAFT_CHECK is off."""
    return env.get("RAFT_CHECK", "").strip().lower() != "off"


async def model_answers(endpoint: Endpoint, hint: str = "") -> bool:
    """Return whether a model answers; if it is only busy or out of order, say so and return False.

    Raise UserError, its message ending in the hint, if it will answer no call: a wrong address, key or model.
    """
    from .client import Client

    hello: list[Message] = [{"role": "user", "content": "Say hello."}]
    async with Client(endpoint, cache_dir=None, attempts=2, timeout=PATIENCE / 2) as client:
        try:
            await asyncio.wait_for(client.ask(hello, max_tokens=16), PATIENCE)
            return True
        except EndpointRefused as error:
            raise UserError(f"{error}; {hint}" if hint else str(error)) from None
        except (CallFailed, asyncio.TimeoutError) as error:
            reason = one_line(error) or f"no answer in {PATIENCE:.0f} s"
            if not client.usage.retries:
                raise UserError(f"{endpoint} cannot be used: {reason}") from None
        print(f"warning: {endpoint} does not answer now, but may later: {reason}", file=sys.stderr)
        return False
