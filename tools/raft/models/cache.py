"""Keep every paid reply on disk, so that no run pays for it again."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError

log = logging.getLogger(__name__)

# Another layout of the table or of the keys gets another file; the old one is left alone.
FILE = "replies.v2.sqlite"


class Stored(NamedTuple):
    """A reply as it was paid for."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: str = ""  # JSON, where they were asked for


def cache_directory(out: Path | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Say where the cache stands: RAFT_CACHE_DIR, or `.cache` in the output folder; None for neither."""
    if env.get("RAFT_CACHE_DIR"):
        return Path(env["RAFT_CACHE_DIR"]).expanduser()
    return out / ".cache" if out else None


def cache_key(request: Mapping[str, Any]) -> bytes:
    """Hash everything that decides a reply (SHA-256 of its canonical JSON, 32 bytes)."""
    text = json.dumps(request, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Cache:
    """Replies by key in one sqlite file, which several processes may use at a time.

    A reply is on disk when `put` returns, as far as the death of this process goes: write-ahead log
    without a sync at each commit, so a power cut may lose the last ones, and never the file.
    """

    def __init__(self, directory: Path) -> None:
        """Open or create the cache; raises UserError where the folder cannot be written."""
        self.file = directory / FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the cache folder {directory} cannot be made: {error.strerror}") from None
        self._open()

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from None
        except sqlite3.DatabaseError as error:
            self._move_aside(error)

    def _connect(self) -> None:
        # A flow's node may make it in one thread and use it in another, never in two at once.
        self._base = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
        self._base.execute("PRAGMA journal_mode=WAL")
        self._base.execute("PRAGMA synchronous=NORMAL")
        self._base.execute(
            "CREATE TABLE IF NOT EXISTS reply (key BLOB PRIMARY KEY, text TEXT NOT NULL,"
            " finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,"
            " completion_tokens INTEGER NOT NULL, logprobs TEXT NOT NULL) WITHOUT ROWID"
        )
        self._base.execute("SELECT count(*) FROM (SELECT text FROM reply LIMIT 1)").fetchone()

    def _unusable(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"the cache {self.file} cannot be used ({error}): free the disk or set RAFT_CACHE_DIR elsewhere"
        )

    def _move_aside(self, error: sqlite3.Error) -> None:
        """Start afresh after damage, and keep the damaged file for whoever wants to mend it."""
        self.close()
        aside = self.file.with_name(f"{FILE}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        for ending in ("", "-wal", "-shm"):
            part = self.file.with_name(FILE + ending)
            if part.exists():
                part.replace(aside.with_name(aside.name + ending))
        log.warning(
            "the cache %s is damaged (%s): moved aside as %s, starting a new one",
            self.file,
            error,
            aside.name,
        )
        try:
            self._connect()
        except sqlite3.Error as again:
            raise self._unusable(again) from None

    def get(self, key: bytes) -> Stored | None:
        """Return the reply stored under a key, or None."""
        query = f"SELECT {', '.join(Stored._fields)} FROM reply WHERE key = ?"
        try:
            row = self._base.execute(query, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise self._unusable(error) from None
        except sqlite3.DatabaseError as error:
            self._move_aside(error)
            return None
        return Stored(*row) if row else None

    def put(self, key: bytes, reply: Stored) -> None:
        """Store a reply now; raises UserError where it cannot, since going on would pay for nothing."""
        for last in (False, True):
            try:
                self._base.execute("INSERT OR REPLACE INTO reply VALUES (?, ?, ?, ?, ?, ?)", (key, *reply))
                return
            except sqlite3.OperationalError as error:
                raise self._unusable(error) from None
            except sqlite3.DatabaseError as error:
                if last:
                    raise self._unusable(error) from None
                self._move_aside(error)

    def count(self) -> int:
        """Count the replies kept."""
        return int(self._base.execute("SELECT count(*) FROM reply").fetchone()[0])

    def close(self) -> None:
        """Close the file; what was put stays."""
        if hasattr(self, "_base"):
            self._base.close()
