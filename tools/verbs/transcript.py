"""A transcript: lines with the time since the start, and never a long silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

SILENCE = 10.0  # seconds without a line after which the current activity is named again
_WIDTH = 110  # of output that is not a terminal


class Transcript:
    """Print lines, each with the time since the start; several threads may share one."""

    def __init__(self, console: Console | None = None, *, silence: float = SILENCE) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = max(self._console.width, _WIDTH)
        self._silence = silence
        self._started = self._last = time.monotonic()

    def line(self, text: str, *details: str, style: str = "") -> None:
        """Print a text beside the time, and the details below it."""
        self._last = time.monotonic()
        minutes, seconds = divmod(int(self._last - self._started), 60)
        grid = Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(Text(f"{minutes}:{seconds:02}", "dim"), Text(text, style))
        for detail in details:
            grid.add_row("", Text(detail))
        self._console.print(grid)

    @contextmanager
    def during(self, activity: str) -> Iterator[None]:
        """Name an activity again whenever the block has been silent for long."""
        started, done = time.monotonic(), threading.Event()

        def remind() -> None:
            while not done.wait(self._silence / 10):
                if time.monotonic() - self._last >= self._silence:
                    self.line(f"… still {activity} ({time.monotonic() - started:.0f} s)", style="dim")

        reminder = threading.Thread(target=remind, daemon=True)
        reminder.start()
        try:
            yield
        finally:
            done.set()
            reminder.join()
