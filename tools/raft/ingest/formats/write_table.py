"""Write tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

MAX_REPEATED = 100  # characters of a merged cell that are repeated in the rows and columns that it covers


def write_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of as many cells each, in one line, as a Markdown table; the first row is the head."""
    lines = ["| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in rows]
    if lines:
        lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)
