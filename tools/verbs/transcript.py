"""A transcript: lines with the time since the start, and never a long silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

SILENCE = 10.0  # seconds without a line after which the current activity is named again
_WIDTH = 100  # of output that is not a terminal
_MARGIN = 7  # columns for the time


class Transcript:
    """Print lines, each beside the time since the start; several threads may share one."""

    def __init__(self, console: Console | None = None, *, silence: float = SILENCE) -> None:
        self._console = console or Console(highlight=False)
        self._width = (self._console.width if self._console.is_terminal else _WIDTH) - _MARGIN
        self._silence = silence
        self._started = self._last = time.monotonic()

    def line(self, text: str, *details: str, style: str = "") -> None:
        """Print a text beside the time, and the details below it."""
        self._last = time.monotonic()
        minutes, seconds = divmod(int(self._last - self._started), 60)
        margin = f"{minutes:2}:{seconds:02}"
        for paragraph in (Text(text, style), *map(Text, details)):
            for part in paragraph.wrap(self._console, self._width):
                part.rstrip()
                line = Text().append(margin.ljust(_MARGIN), "dim").append_text(part)
                self._console.print(line, soft_wrap=True)
                margin = ""

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
