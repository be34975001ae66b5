"""Measure how long each step of a column takes, over all runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import read_object, write_json


class Clock:
    """Adds up the seconds of each step in a file, those of interrupted runs as well."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = read_object(path)

    @contextmanager
    def measure(self, step: str) -> Iterator[None]:
        """Add the time that the block takes to a step."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self.seconds.get(step, 0.0) + time.monotonic() - started
            self.seconds[step] = round(seconds, 1)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._path, self.seconds)
