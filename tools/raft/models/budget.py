"""Keep a run below a ceiling of dollars or calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from ..errors import AGAIN, UserError
from .endpoint import Endpoint
from .failed_calls import CallFailed
from .pricing import Price, dollars
from .reply import Reply, Vectors

BYTES_PER_TOKEN = 2.5  # of a prompt, so that few have more tokens than is set aside for them


class BudgetSpent(CallFailed):
    """No more calls are made, since the next one could pass the ceiling."""


class Budget:
    """A ceiling for what a run pays, shared by its clients.

    Before a call, what it may cost at most is set aside: its prompt, counted at 2.5 bytes a token, and as
    many tokens of a reply as it may have. A call that would pass the ceiling waits for those in flight, most
    of which cost less than was set aside; if it still would, it fails with BudgetSpent, and so do all after.
    """

    def __init__(
        self,
        *,
        max_dollars: float | None = None,
        max_calls: int | None = None,
        prices: Mapping[str, Price] | None = None,
    ) -> None:
        """Set the ceilings; None for no ceiling. Dollars need the `prices` of the models."""
        self.max_dollars, self.max_calls = max_dollars, max_calls
        self.spent, self.calls = 0.0, 0
        self.reached = ""  # which ceiling was, in words
        self._prices = prices or {}
        self._reserved, self._in_flight = 0.0, 0
        self._settled: list[asyncio.Future[None]] = []

    def check(self, endpoints: Iterable[Endpoint]) -> None:
        """Raise UserError if a ceiling in dollars cannot be kept, as the price of a model is not known."""
        if self.max_dollars is not None:
            for endpoint in endpoints:
                if self._cost(endpoint, 1, 1) is None:
                    raise UserError(
                        f"--max-cost needs the price of {endpoint.model}, which is not in the table: give it "
                        "with --prices FILE, or limit the calls with --max-calls"
                    )

    @asynccontextmanager
    async def reserved(
        self, endpoints: Iterable[Endpoint], body: Mapping[str, Any], *, share: float = 1.0
    ) -> AsyncIterator[Callable[[Endpoint, Reply | Vectors], None]]:
        """Set aside what a call may cost while the block runs; yield what settles it with the reply's cost.

        share: of the list price that is paid, as for batches. Raises BudgetSpent if the call could pass a
        ceiling.
        """
        prompt = len(str(body).encode()) / BYTES_PER_TOKEN
        most = share * max(
            self._cost(one, round(prompt), body.get("max_tokens", 0)) or 0.0 for one in endpoints
        )
        while not self.reached and (over := self._over(most)):
            if not self._in_flight:
                self.reached = over
                break
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._settled.append(waiting)
            await waiting
        if self.reached:
            raise BudgetSpent(f"{self.reached} is reached: raise it and {AGAIN}")
        self._reserved += most
        self._in_flight += 1

        def settle(endpoint: Endpoint, reply: Reply | Vectors) -> None:
            self.calls += 1
            self.spent += share * (self._cost(endpoint, reply.prompt_tokens, reply.completion_tokens) or 0.0)

        try:
            yield settle
        finally:
            self._reserved -= most
            self._in_flight -= 1
            waiting_now, self._settled = self._settled, []
            for future in waiting_now:
                if not future.done():
                    future.set_result(None)

    def _over(self, most: float) -> str:
        """Return the ceiling that a call of this cost could pass, in words, or an empty string."""
        if self.max_calls is not None and self.calls + self._in_flight >= self.max_calls:
            return f"the ceiling of {self.max_calls:,} calls (--max-calls)"
        if self.max_dollars is not None and self.spent + self._reserved + most > self.max_dollars:
            return f"the ceiling of ${self.max_dollars:,.2f} (--max-cost)"
        return ""

    def _cost(self, endpoint: Endpoint, prompt_tokens: int, completion_tokens: int) -> float | None:
        return dollars(endpoint.model, prompt_tokens, completion_tokens, self._prices)
