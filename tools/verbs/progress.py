"""Progress of long work: a bar on a terminal; in a log file a line at the start and every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task
from rich.progress_bar import ProgressBar
from rich.text import Text

from tools.raft.progress import describe_duration

if TYPE_CHECKING:
    from tools.raft.generate.rows import Counts

LOG_SECONDS = 12.0  # between two lines where the output is not a terminal

console = Console(highlight=False)


class Work:
    """A long piece of work: what it is, how much is done, and how long the rest will take."""

    def __init__(self, description: str, total: int = 0) -> None:
        self.description = description
        self.done = 0
        self.total = total  # 0 if unknown
        self.unit = ""
        self.note = ""
        self._seconds_left: float | None = None
        self._started = time.monotonic()
        self._first: tuple[float, int] | None = None  # time and amount done of the first progress
        self._last = self._started

    def update(self, done: int, total: int, note: str = "", seconds_left: float | None = None) -> None:
        """Record progress. seconds_left is derived from the pace since the first progress if not given."""
        if done != self.done or self._first is None:
            self._last = time.monotonic()
            self._first = self._first or (self._last, done)
        self.done, self.total, self.note, self._seconds_left = done, total, note, seconds_left

    def advance(self, count: int) -> None:
        """Record that `count` more steps are done."""
        self.update(self.done + count, self.total, self.note)

    @property
    def seconds_left(self) -> float | None:
        """Return the seconds that the rest will take, None if unknown."""
        if self._seconds_left is not None or not self.total or self._first is None:
            return self._seconds_left
        began, before = self._first
        if self.done <= before:
            return None
        return (self.total - self.done) * (self._last - began) / (self.done - before)

    def describe(self) -> str:
        """Return what is done and what is left in one line."""
        left, elapsed = self.seconds_left, time.monotonic() - self._started
        parts = [f"{self.unit}{self.done:,} of {self.total:,}" if self.total else "", self.note]
        if left and self.done < self.total:
            parts.append(f"about {describe_duration(left)} left")
        elif elapsed >= 1:
            parts.append(describe_duration(elapsed))
        return ": ".join(filter(None, (self.description, ", ".join(filter(None, parts)))))


@contextmanager
def showing(work: Work) -> Iterator[Work]:
    """Show a piece of work until the block ends, even while it reports nothing."""
    if console.is_terminal:
        columns = (SpinnerColumn(), _BarColumn(), _LineColumn())
        with Progress(*columns, console=console, transient=True, refresh_per_second=4) as live:
            live.add_task("", total=None, work=work)
            yield work
        return
    ended = threading.Event()
    thread = threading.Thread(target=_write_lines, args=(work, ended), daemon=True)
    thread.start()
    try:
        yield work
    finally:
        ended.set()
        thread.join()


def _write_lines(work: Work, ended: threading.Event) -> None:
    """Print a line now and every LOG_SECONDS until the work has ended."""
    try:
        while True:
            console.print(work.describe(), markup=False, soft_wrap=True)
            if ended.wait(LOG_SECONDS):
                return
    except (OSError, ValueError, SystemExit):
        return  # nobody reads the output any more, whereupon rich exits; the work goes on


class _BarColumn(ProgressColumn):
    def render(self, task: Task) -> ProgressBar:
        work: Work = task.fields["work"]
        return ProgressBar(total=work.total or None, completed=work.done, width=30, pulse=not work.total)


class _LineColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["work"].describe(), no_wrap=True, overflow="ellipsis")


@contextmanager
def bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how many of `total` steps are done, or only how long it takes if `total` is 0."""
    with showing(Work(description, total)) as work:
        yield work.advance


@contextmanager
def reading() -> Iterator[Callable[[str, int, int], None]]:
    """Show which document is being read, and its pages."""
    with showing(Work("reading documents")) as work:

        def on_page(source: str, done: int, total: int) -> None:
            work.description = f"reading {source}"
            work.done, work.total = done, total

        yield on_page


@contextmanager
def generating() -> Iterator[Callable[[int, int, Counts], None]]:
    """Show the progress of a generation, with the rows accepted and rejected so far."""
    with showing(Work("generating")) as work:
        yield lambda done, total, counts: work.update(
            done, total, f"{counts.rows} rows, {counts.rejected.total()} rejected"
        )


@contextmanager
def embedding() -> Iterator[Callable[[int, int], None]]:
    """Show how many texts have been embedded."""
    with showing(Work("embedding")) as work:
        yield work.update


@contextmanager
def training(description: str = "training") -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Show the progress of a training job, here or elsewhere: its step, losses, speed and what is left."""
    with showing(Work(description)) as work:
        work.unit = "step "

        def on_status(status: Mapping[str, Any]) -> None:
            step, steps = status["step"] or 0, status["steps"] or 0
            losses = [f"{name.replace('_', ' ')} {value:.2f}" for name, value in status["metrics"].items()]
            speed = status.get("tokens_per_second")
            notes = [
                status["message"] or ("" if step else status["state"]),
                f"step {step}" if step and not steps else "",
                *losses,
                f"{speed:,.0f} tokens/s" if speed else "",
            ]
            work.update(step, steps, ", ".join(filter(None, notes)), status.get("seconds_left"))

        yield on_status
