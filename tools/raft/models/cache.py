"""Cache every paid reply on disk, so that no run pays for it again."""

from __future__ import annotations

import contextlib
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

# A change to the table or to the keys needs a new file name; the old file is left alone.
FILE = "replies.v2.sqlite"


class Stored(NamedTuple):
    """A reply as stored in the cache."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    logprobs: str = ""  # JSON; empty if they were not requested
    place: str = ""  # the address that gave it; empty in what earlier versions stored


def cache_directory(out: Path | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Return the cache folder: RAFT_CACHE_DIR, or `.cache` in the output folder; None without either."""
    if env.get("RAFT_CACHE_DIR"):
        return Path(env["RAFT_CACHE_DIR"]).expanduser()
    return out / ".cache" if out else None


def canonical_json(value: Any) -> str:
    """Write a value as JSON of which there is only one form: compact, keys sorted."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def model_key(body: str, attempt: int, revision: str) -> bytes:
    """Compute the key of a request by its model, which the body names, whatever the address: 32 bytes.

    `body` is canonical JSON.
    """
    return _hash(f'{{"attempt":{attempt},"body":{body},"revision":{canonical_json(revision)}}}')


def address_key(body: str, attempt: int, endpoint: Mapping[str, str]) -> bytes:
    """Compute the key of a request at one address; `endpoint` is what identifies that."""
    return _hash(f'{{"attempt":{attempt},"body":{body},"endpoint":{canonical_json(endpoint)}}}')


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Cache:
    """Replies by key in one SQLite file, which several processes may use at the same time.

    A reply survives the death of this process once `put` has returned. The write-ahead log is not synced
    at each commit, so a power cut may lose the last replies, but not the file.
    """

    def __init__(self, directory: Path) -> None:
        """Open or create the cache. Raises UserError if the folder cannot be written."""
        self.file = directory / FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the cache folder {directory} cannot be created: {error.strerror}") from None
        self._open()

    def _open(self) -> None:
        try:
            self._connect()
        except sqlite3.OperationalError as error:
            raise self._unusable_error(error) from None
        except sqlite3.DatabaseError as error:
            self._move_aside(error)

    def _connect(self) -> None:
        # A flow's node may open it in one thread and use it in another, but never in two at once.
        self._database = sqlite3.connect(self.file, timeout=30, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=NORMAL")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS reply (key BLOB PRIMARY KEY, text TEXT NOT NULL,"
            " finish_reason TEXT NOT NULL, prompt_tokens INTEGER NOT NULL,"
            " completion_tokens INTEGER NOT NULL, logprobs TEXT NOT NULL, place TEXT NOT NULL DEFAULT '')"
            " WITHOUT ROWID"
        )
        columns = {row[1] for row in self._database.execute("PRAGMA table_info(reply)")}
        if "place" not in columns:
            with contextlib.suppress(sqlite3.OperationalError):  # another process has just added it
                self._database.execute("ALTER TABLE reply ADD COLUMN place TEXT NOT NULL DEFAULT ''")
        self._database.execute("SELECT count(*) FROM (SELECT text FROM reply LIMIT 1)").fetchone()

    def _unusable_error(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"the cache {self.file} cannot be used ({error}): free disk space or change RAFT_CACHE_DIR"
        )

    def _move_aside(self, error: sqlite3.Error) -> None:
        """Start a new cache after damage; keep the damaged file, in case it can be repaired."""
        self.close()
        damaged = self.file.with_name(f"{FILE}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}")
        for suffix in ("", "-wal", "-shm"):
            part = self.file.with_name(FILE + suffix)
            if part.exists():
                part.replace(damaged.with_name(damaged.name + suffix))
        log.warning(
            "the cache %s is damaged (%s): moved aside to %s, starting a new one",
            self.file,
            error,
            damaged.name,
        )
        try:
            self._connect()
        except sqlite3.Error as second_error:
            raise self._unusable_error(second_error) from None

    def get(self, key: bytes) -> Stored | None:
        """Return the reply stored under a key, or None."""
        query = f"SELECT {', '.join(Stored._fields)} FROM reply WHERE key = ?"
        try:
            row = self._database.execute(query, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            raise self._unusable_error(error) from None
        except sqlite3.DatabaseError as error:
            self._move_aside(error)
            return None
        return Stored(*row) if row else None

    def put(self, key: bytes, reply: Stored) -> None:
        """Store a reply. Raises UserError on failure, since further paid replies would be lost."""
        for last_attempt in (False, True):
            try:
                self._database.execute(
                    "INSERT OR REPLACE INTO reply VALUES (?, ?, ?, ?, ?, ?, ?)", (key, *reply)
                )
                return
            except sqlite3.OperationalError as error:
                raise self._unusable_error(error) from None
            except sqlite3.DatabaseError as error:
                if last_attempt:
                    raise self._unusable_error(error) from None
                self._move_aside(error)

    def count(self) -> int:
        """Return the number of replies stored."""
        return int(self._database.execute("SELECT count(*) FROM reply").fetchone()[0])

    def close(self) -> None:
        """Close the file; stored replies stay."""
        if hasattr(self, "_database"):
            self._database.close()
