"""Print what each of several endpoints did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.raft.models.pricing import show_dollars


def show_endpoints(
    accounts: Sequence[Mapping[str, Any]], console: Console, *, title: str = "Endpoints"
) -> None:
    """Print a table of what each endpoint did, as `Lane.account` returns it; nothing if there is only one."""
    if len(accounts) < 2:
        return
    several = len({account["model"] for account in accounts}) > 1
    priced = any("cost_dollars" in account for account in accounts)
    table = Table("endpoint", title=title)
    for name in ("calls", "tokens in", "tokens out", "tokens/s", "429s", "failures"):
        table.add_column(name, justify="right")
    if priced:
        table.add_column("cost", justify="right")
    for account in accounts:
        name = f"{account['endpoint']} ({account['model']})" if several else account["endpoint"]
        gone = "\nrefused, see above" if account["refusal"] else ""
        cells = [
            f"{account['calls']:,}",
            f"{account['prompt_tokens']:,}",
            f"{account['completion_tokens']:,}",
            f"{account['tokens_per_second']:,.0f}",
            str(account["throttled"]),
            str(account["failed"]),
        ]
        if priced:
            cost = account["cost_dollars"]
            cells.append("–" if cost is None else show_dollars(cost))
        table.add_row(escape(f"{name}{gone}"), *cells)
    console.print(table)
