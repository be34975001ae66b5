"""Start a Python module as a child process that ends with its parent, even if the parent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from .files import PROJECT


def start_child(module: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start `python -m module` with a pipe to its standard input, which closes when this process ends.

    The child must read standard input, to the end or line by line. `options` are passed to Popen.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,  # so that `tools` is found whatever the user's working directory
        stdin=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def exit_with_parent() -> None:
    """Exit this process, from a background thread, as soon as its parent is gone."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def free_processors() -> int:
    """Return the number of processors that other processes leave free, at least one."""
    return max(1, round(processors() - _busy_processors()))


def _busy_processors(seconds: float = 0.25) -> float:
    """Measure how many processors are busy, work at low priority aside; 0 where Linux does not tell."""
    try:
        before = _processor_times()
        time.sleep(seconds)
        spent = [after - earlier for earlier, after in zip(before, _processor_times(), strict=True)]
        user, nice, system, idle, waiting, *rest = spent
    except (OSError, ValueError):
        return 0.0
    busy = user + system + sum(rest)
    return (os.cpu_count() or 1) * busy / max(1, busy + nice + idle + waiting)


def _processor_times() -> list[int]:
    """Return the time of all processors by kind: proc_stat(5), without that of guests, which user has."""
    line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    return [int(value) for value in line.split()[1:9]]
