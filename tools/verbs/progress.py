"""Progress displays: a bar on a terminal, no transient output in a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from tools.raft.generate.rows import Counts

console = Console(highlight=False)


@contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how many of `total` steps are done."""
    # In a file, a transient bar would leave an empty line.
    with Progress(transient=True, refresh_per_second=4, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """Show which document is being read, and its pages."""
    columns = (SpinnerColumn(), TextColumn("reading {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("documents", total=None)
        yield lambda source, done, total: bar.update(
            task, description=escape(source), completed=done, total=total or None
        )


@contextmanager
def generating() -> Iterator[Callable[[int, int, Counts], None]]:
    """Show the progress of a generation, with the rows accepted and rejected so far."""
    columns = (
        TextColumn("generating"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4) as bar:
        task = bar.add_task("", total=None)
        shown = 0.0

        def on_progress(done: int, total: int, counts: Counts) -> None:
            nonlocal shown
            now = time.monotonic()
            # Thousands of updates a second would only cost time.
            if now - shown < 0.2 and done < total:
                return
            shown = now
            text = f"{counts.rows} rows, {counts.rejected.total()} rejected"
            bar.update(task, completed=done, total=total, description=text)

        yield on_progress


@contextmanager
def embedding() -> Iterator[Callable[[int, int], None]]:
    """Show how many texts have been embedded."""
    columns = (TextColumn("embedding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, refresh_per_second=4, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def training() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show the progress of a local training, with its losses."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as bar:
        task = bar.add_task("training", total=None)

        def on_status(status: Mapping[str, Any]) -> None:
            losses = "".join(
                f", {name.replace('_', ' ')} {value:.2f}" for name, value in status["metrics"].items()
            )
            bar.update(
                task, description=f"training{losses}", completed=status["step"] or 0, total=status["steps"]
            )

        yield on_status
