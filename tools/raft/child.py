"""Start a Python module as a child process that ends with its parent, even if the parent is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
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
