"""Show the table of a benchmark run in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.raft.bench.report import contrast_rows, describe_effort, main_rows


def show_bench(table: Mapping[str, Any], out: Path) -> None:
    """Print the cells with the paper's figures, the paired differences, the effort and where it all is."""
    console = Console(highlight=False)
    columns = table["columns"].values()
    shown = Table("%", *(f"{column['title']}\nn {column['asked']}" for column in columns))
    for row in main_rows(table):
        lines = [f"{cell['ours'] or '–'}\n[dim]{cell['paper']}[/dim]" for cell in row["cells"]]
        shown.add_row(row["name"], *lines)
    console.print(shown)
    console.print(
        "95 % intervals in brackets; dim: the paper (LLaMA2-7B), and the constant reply to all questions.",
        soft_wrap=True,
    )
    differences = Table("paired difference", *(column["title"] for column in columns))
    for row in contrast_rows(table):
        differences.add_row(row["name"], *(cell or "–" for cell in row["cells"]))
    console.print(differences)
    missing = sum(arm["missing"] for column in columns for arm in column["arms"].values())
    if missing:
        console.print(f"{missing} answers are missing: run the same command again", style="red", markup=False)
    console.print(describe_effort(table), soft_wrap=True)
    cells = sum(len(column["arms"]) for column in columns)
    console.print(f"Table: {cells} cells in {out / 'table.html'}", soft_wrap=True)
