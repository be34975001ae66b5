"""Parse documents in a process of its own, limited in time and memory.

A hostile or broken file may hang, exhaust or crash a parser; then only this process ends, and the
next file gets a new one. Both sides speak JSON, one line a message: no pickle.
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

MAX_MEMORY = 2 * 1024**3  # bytes of address space, where the system can limit it
MAX_CHARS = 50_000_000  # of text from one file


class Parser:
    """A parsing process, begun with the first file and kept for the next ones. A context manager."""

    def __init__(self, *, timeout_s: float, max_memory: int = MAX_MEMORY) -> None:
        self._timeout_s = timeout_s
        self._max_memory = max_memory
        self._process: subprocess.Popen[str] | None = None
        self._replies: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> Parser:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def parse(self, path: Path, kind: str) -> Parsed:
        """Parse a file of a sandboxed kind, such as "pdf". Raises Unreadable with the reason."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None
        try:
            process.stdin.write(json.dumps({"path": str(path.resolve()), "kind": kind}) + "\n")
            process.stdin.flush()
            reply = self._replies.get(timeout=self._timeout_s)
        except queue.Empty:
            self._stop()
            raise Unreadable(f"took more than {self._timeout_s:g} s to parse") from None
        except OSError:
            reply = ""
        if not reply.endswith("\n"):
            self._stop()
            raise Unreadable("made its parser crash, or need more memory than allowed")
        answer = json.loads(reply)
        if reason := answer.get("reason"):
            raise Unreadable(reason)
        parsed: Parsed = answer["parsed"]
        return parsed

    def _start(self) -> None:
        self._stop()
        self._process = start_child(
            __name__, str(self._max_memory), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        # A queue of its own: a late reply of a process that was stopped must not answer for the next file.
        self._replies = queue.Queue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, self._replies), daemon=True).start()

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


def _pass_on(stdout: IO[str], replies: queue.Queue[str]) -> None:
    with stdout:
        for line in stdout:
            replies.put(line)
    replies.put("")  # the process has ended


def _limit_memory(limit: int) -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        pass  # not a POSIX system, or one that does not limit it: the time limit stays


def _parse(path: str, kind: str) -> dict[str, Any]:
    try:
        parsed = FORMATS[kind].load()(path)
    except Unreadable as error:
        return {"reason": str(error)}
    except (MemoryError, SystemError):  # which of the two, the interpreter leaves to chance
        return {"reason": "needs more memory to parse than allowed"}
    except RecursionError:
        return {"reason": "nested too deeply to parse"}
    except ImportError as error:
        return {"reason": f"no parser: pip install {error.name}"}
    except Exception as error:  # whatever a hostile file makes a parser raise is that file's fault
        return {"reason": f"broken: its parser stopped with {type(error).__name__}"}
    if len(parsed["text"]) > MAX_CHARS:
        return {"reason": f"holds {len(parsed['text'])} characters of text, over the limit of {MAX_CHARS}"}
    return {"parsed": parsed}


def main() -> None:
    """Answer one line for each line asked, until the asking side ends."""
    _limit_memory(int(sys.argv[1]))
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        asked = json.loads(line)
        answer = _parse(asked["path"], asked["kind"])
        try:
            answers.write(json.dumps(answer) + "\n")
        except MemoryError:
            answers.write(json.dumps({"reason": "needs more memory to parse than allowed"}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
