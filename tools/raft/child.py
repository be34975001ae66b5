"""Start a Python module as a process that ends when this one does, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

from .files import PROJECT


def start_child(module: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start `python -m module` with a pipe to its standard input, which closes when this process ends.

    The child has to read it, to its end or line by line. `options` are those of Popen.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=PROJECT,  # so that the project's own `tools` is found, wherever the user stands
        stdin=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        **options,
    )


def exit_with_parent() -> None:
    """End this process, from a thread, as soon as the one that started it is gone."""

    def wait() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
