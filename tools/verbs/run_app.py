"""Run a command line: a mistake ends in one line and a non-zero exit status, never in a traceback."""

from __future__ import annotations

import sys
from typing import Any

from tools.raft.errors import UserError

_OURS = ("", "tools", "workflows")  # a module of these that is missing is a fault of the program


def run_app(app: Any, requirements: str = "requirements.txt") -> None:
    """Run a typer app; `requirements` is the file that brings a package which is missing."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _OURS:
            raise
        print(f"error: this needs the package {package}: pip install -r {requirements}", file=sys.stderr)
        sys.exit(UserError.status)
    except KeyboardInterrupt:
        print("interrupted: paid replies are kept; run the same command again to resume", file=sys.stderr)
        sys.exit(130)
