"""The form in which the library reports the progress of long work; how it is shown is up to the caller."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

# progress(what, total) opens a piece of work (total 0: unknown) and yields a function that takes the number
# of steps done since its last call.
Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


@contextmanager
def no_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show nothing."""
    yield lambda count: None
