"""Parse documents in a separate process, limited in time and memory.

A malicious or broken file may make a parser hang, crash or run out of memory; then only this process
ends, and the next file gets a new one. Messages are JSON lines, not pickle, in both directions.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from ..child import start_child
from .formats import FORMATS
from .formats.plain import Parsed, Unreadable

MAX_MEMORY = 2 * 1024**3  # bytes of address space, if the system can limit it
MAX_CHARS = 50_000_000  # of text from one file


class Parser:
    """A context manager for a parsing process, started with the first file and reused for the next ones."""

    def __init__(self, *, timeout_s: float, max_memory: int = MAX_MEMORY) -> None:
        self._timeout_s = timeout_s
        self._max_memory = max_memory
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Parser:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def parse(self, path: Path, kind: str) -> Parsed:
        """Parse a file of a sandboxed format (`kind`), such as "pdf". Raises Unreadable with the reason."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps({"path": str(path.resolve()), "kind": kind}) + "\n")
            process.stdin.flush()
            line = self._lines.get(timeout=self._timeout_s)
        except queue.Empty:
            self._stop()
            raise Unreadable(f"took more than {self._timeout_s:g} s to parse") from None
        except OSError:
            line = ""
        if not line.endswith("\n"):
            self._stop()
            raise Unreadable("made its parser crash, or need more memory than allowed")
        reply = json.loads(line)
        if reason := reply.get("reason"):
            raise Unreadable(reason)
        parsed: Parsed = reply["parsed"]
        return parsed

    def _start(self) -> None:
        self._stop()
        self._process = start_child(
            __name__, str(self._max_memory), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        # A new queue: a late reply of a stopped process must not be taken for that of the next file.
        self._lines = queue.Queue()
        threading.Thread(target=_forward, args=(self._process.stdout, self._lines), daemon=True).start()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
            except OSError:
                pass
            self._process = None


def _forward(stdout: IO[str], lines: queue.Queue[str]) -> None:
    with stdout:
        for line in stdout:
            lines.put(line)
    lines.put("")  # the process has ended


def _limit_memory(limit: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # not POSIX, or no such limit: the time limit still applies


def _parse(path: str, kind: str) -> dict[str, Any]:
    try:
        parsed = FORMATS[kind].load()(path)
    except Unreadable as error:
        return {"reason": str(error)}
    except (MemoryError, SystemError):  # either is raised when memory runs out
        return {"reason": "needs more memory to parse than allowed"}
    except RecursionError:
        return {"reason": "nested too deeply to parse"}
    except ImportError as error:
        return {"reason": f"no parser: pip install {error.name}"}
    except Exception as error:  # a malicious file can make a parser raise anything
        return {"reason": f"broken: its parser stopped with {type(error).__name__}"}
    if len(parsed["text"]) > MAX_CHARS:
        return {"reason": f"holds {len(parsed['text'])} characters of text, over the limit of {MAX_CHARS}"}
    return {"parsed": parsed}


def main() -> None:
    """Write one reply for each request line on standard input, until it closes."""
    _limit_memory(int(sys.argv[1]))
    # Replies get a copy of standard output, so that output of a library is not taken for a reply.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        request = json.loads(line)
        reply = _parse(request["path"], request["kind"])
        try:
            replies.write(json.dumps(reply) + "\n")
        except MemoryError:
            replies.write(json.dumps({"reason": "needs more memory to parse than allowed"}) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
