"""Terminal output about the lengths of rows: the longest one, and those left out."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from tools.raft.finetune.leave_out import SKIPPED
from tools.raft.finetune.lengths import Lengths, name_row

console = Console(highlight=False, soft_wrap=True)
_MOST_NAMED = 20  # rows left out


def longest(lengths: Lengths) -> None:
    """Print the longest row and what the model takes; name the rows that are too long."""
    console.print(lengths.describe(), markup=False)
    for row in lengths.long[:_MOST_NAMED]:
        console.print(f"  left out: {name_row(row)}, {lengths.describe_tokens(row)}", markup=False)
    if len(lengths.long) > _MOST_NAMED:
        console.print(f"  left out: {len(lengths.long) - _MOST_NAMED:,} more", markup=False)


def skipped(lengths: Lengths, out: Path) -> None:
    """Print how many rows were left out, and where they are."""
    console.print(
        f"{len(lengths.long):,} of {lengths.rows:,} rows left out, longer than the {lengths.context:,} "
        f"tokens that {lengths.model} takes: see {out / SKIPPED}",
        markup=False,
    )
