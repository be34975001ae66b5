"""Show the preference pairs of a dataset, and why its other rows make none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tools.raft.dataset.pairs import sum_pairs


def show_pairs(files: Mapping[str, Mapping[str, Any]], console: Console) -> None:
    """Print the pairs by reason; files: those of a dataset, as its manifest lists them."""
    counts = sum_pairs(files)
    if not any(counts.values()):
        return
    table = Table("rejected answer", "rows", title=f"{counts['pairs'].total()} preference pairs")
    for reason, count in counts["pairs"].most_common():
        table.add_row(escape(reason), str(count))
    for why, count in counts["without"].most_common():
        table.add_row(f"no pair: {escape(why)}", str(count), style="dim")
    console.print(table)
