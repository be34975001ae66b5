"""Parse documents in a separate process, limited in processor time and memory.

A malicious or broken file may make a parser hang, crash or run out of memory; then only this process and
the programs it started end, and the next file gets a new one. Messages are JSON lines, not pickle, in both
directions.
"""

from __future__ import annotations

import json
import math
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from ..child import start_child
from .formats import FORMATS
from .formats.parsed import OnPage, Parsed, Unreadable

try:
    import resource
except ImportError:  # not POSIX: limited in wall time only
    resource = None  # type: ignore[assignment]

MAX_CHARS = 50_000_000  # of text from one file
# A file may take as many times the limit of a page: a long document is no attack, an endless one is.
_PAGES_OF_TIME = 10
_PAGES_OF_TIME_WITH_OCR = 200


class Parser:
    """A context manager for a parsing process, started with the first file and reused for the next ones.

    seconds: processor time for a page, or for a file of a format without pages. A busy machine changes
    nothing about it; wall time counts only for a parser that does nothing at all.
    max_memory: bytes of address space. Neither is limited exactly on systems without POSIX limits.
    """

    def __init__(self, *, seconds: float, max_memory: int) -> None:
        self._seconds = seconds
        self._max_memory = max_memory
        self._process: subprocess.Popen[str] | None = None
        self._lines: queue.Queue[str] = queue.Queue()
        # Temporary files of parsers are in a folder of their own, as a parser that is killed leaves them.
        self._temporary = tempfile.TemporaryDirectory(prefix="raft-", ignore_cleanup_errors=True)

    def __enter__(self) -> Parser:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._temporary.cleanup()

    def parse(
        self, path: Path, kind: str, *, ocr: str = "", on_page: OnPage = lambda done, total: None
    ) -> Parsed:
        """Parse a file of a sandboxed format (`kind`), such as "pdf". Raises Unreadable with the reason."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None
        request = {"path": str(path.resolve()), "kind": kind, "ocr": ocr, "seconds": self._seconds}
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            reply = self._await_reply(on_page)
        except OSError:
            reply = None
        if reply is None:
            status = process.wait() if process.poll() is not None else None
            self._stop()
            raise Unreadable(self._too_slow() if _ran_out_of_time(status) else _CRASHED)
        if reason := reply.get("reason"):
            raise Unreadable(reason)
        parsed: Parsed = reply["parsed"]
        return parsed

    def _await_reply(self, on_page: OnPage) -> dict[str, Any] | None:
        """Return the reply, or nothing if the process has ended; report the pages until then."""
        silence = self._seconds * (_PAGES_OF_TIME if resource else 1)
        while True:
            try:
                line = self._lines.get(timeout=silence)
            except queue.Empty:
                self._stop()
                raise Unreadable(self._too_slow()) from None
            if not line.endswith("\n"):
                if self._process:
                    self._process.wait()
                return None
            reply: dict[str, Any] = json.loads(line)
            if "page" not in reply:
                return reply
            on_page(reply["page"], reply["of"])

    def _too_slow(self) -> str:
        return (
            f"took more than {self._seconds:g} s of processor time to parse; --parse-seconds raises the limit"
        )

    def _start(self) -> None:
        self._stop()
        self._process = start_child(
            __name__,
            str(self._max_memory),
            self._temporary.name,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a process group of its own, which is killed as a whole
            # Each arena of glibc reserves 64 MiB of the address space, which is limited.
            env={**os.environ, "MALLOC_ARENA_MAX": "1"},
        )
        # A new queue: a late reply of a stopped process must not be taken for that of the next file.
        self._lines = queue.Queue()
        threading.Thread(target=_forward, args=(self._process.stdout, self._lines), daemon=True).start()

    def _stop(self) -> None:
        if self._process is not None:
            _kill_group(self._process.pid)
            self._process.kill()
            self._process.wait()
            assert self._process.stdin is not None
            try:
                self._process.stdin.close()
            except OSError:
                pass
            self._process = None


_NO_MEMORY = "needs more memory to parse than allowed; --parse-memory raises the limit"
_CRASHED = "made its parser crash, or need more memory than allowed; --parse-memory raises the limit"


def _ran_out_of_time(status: int | None) -> bool:
    return status is not None and hasattr(signal, "SIGXCPU") and status == -signal.SIGXCPU


def _kill_group(group: int) -> None:
    """Kill a process group, if the system has any: the parser and the programs that it started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (AttributeError, OSError):
        pass


def _forward(stdout: IO[str], lines: queue.Queue[str]) -> None:
    with stdout:
        for line in stdout:
            lines.put(line)
    lines.put("")  # the process has ended


def _limit_memory(limit: int) -> None:
    if resource is None:
        return
    try:
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):
        pass  # no such limit on this system: that of time still applies


def _time_limiter(seconds: float, pages: int) -> Callable[[], None]:
    """Return a function that grants the next page `seconds` of processor time, `pages` times that in all."""
    if resource is None:
        return lambda: None
    start = _processor_time()

    def grant() -> None:
        limit = min(_processor_time() + seconds, start + pages * seconds)
        # The process ends at the soft limit, in whatever library it is.
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), resource.RLIM_INFINITY))

    return grant


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _parse(path: str, kind: str, ocr: str, on_page: OnPage) -> dict[str, Any]:
    format = FORMATS[kind]
    options: dict[str, Any] = {"ocr": ocr, "on_page": on_page} if format.paged else {}
    try:
        parsed = format.load()(path, **options)
    except Unreadable as error:
        return {"reason": str(error)}
    except (MemoryError, SystemError):  # either is raised when memory runs out
        return {"reason": _NO_MEMORY}
    except RecursionError:
        return {"reason": "nested too deeply to parse"}
    except ImportError as error:
        return {"reason": f"no parser: pip install {error.name}"}
    except Exception as error:  # a malicious file can make a parser raise anything
        return {"reason": f"broken: its parser stopped with {type(error).__name__}"}
    if len(parsed["text"]) > MAX_CHARS:
        return {"reason": f"holds {len(parsed['text'])} characters of text, over the limit of {MAX_CHARS}"}
    return {"parsed": parsed}


def _read_requests(requests: queue.Queue[str], temporary: str) -> None:
    """Forward the lines of standard input; end this process and those it started when the parent is gone."""
    for line in sys.stdin:
        requests.put(line)
    shutil.rmtree(temporary, ignore_errors=True)
    _kill_group(os.getpid())  # started as the leader of its group
    os._exit(1)


def main() -> None:
    """Write the reply to each request line on standard input, until it closes."""
    max_memory, temporary = sys.argv[1:]
    _limit_memory(int(max_memory))
    os.environ["TMPDIR"] = tempfile.tempdir = temporary
    # Replies get a copy of standard output, so that output of a library is not taken for a reply.
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", errors="replace")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def send(reply: dict[str, Any]) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    requests: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read_requests, args=(requests, temporary), daemon=True).start()
    while True:
        request = json.loads(requests.get())
        ocr = request["ocr"]
        grant = _time_limiter(request["seconds"], _PAGES_OF_TIME_WITH_OCR if ocr else _PAGES_OF_TIME)

        def on_page(done: int, total: int, grant: Callable[[], None] = grant) -> None:
            grant()
            send({"page": done, "of": total})

        grant()
        reply = _parse(request["path"], request["kind"], ocr, on_page)
        try:
            send(reply)
        except MemoryError:
            send({"reason": _NO_MEMORY})


if __name__ == "__main__":
    main()
