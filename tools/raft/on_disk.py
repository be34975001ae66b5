"""Keep on disk what would grow in memory with a corpus: rows by number, values by key, arrays by slice."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import tempfile
import threading
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


class RowFile(Sequence[Any]):
    """JSON values in the lines of a file, read one at a time: eight bytes of memory for each.

    Without a path the file is a temporary one, to which rows can be appended. Several threads may read it.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open a file that has no blank lines; it must not change as long as this object lives."""
        self._file: IO[bytes] = path.open("rb") if path else tempfile.TemporaryFile()  # noqa: SIM115
        self._starts = array("Q", [0])
        self._at_end = True
        self._lock = threading.Lock()
        for line in self._file if path else ():
            self._starts.append(self._starts[-1] + len(line))

    def append(self, row: Any) -> None:
        """Add a row at the end of a temporary file."""
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"
        with self._lock:
            if not self._at_end:
                self._file.seek(0, os.SEEK_END)
                self._at_end = True
            self._file.write(line)
            self._starts.append(self._starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> list[Any]: ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        position %= len(self)
        start, end = self._starts[position], self._starts[position + 1]
        with self._lock:
            self._at_end = False
            self._file.seek(start)
            line = self._file.read(end - start)
        return json.loads(line)


class Subset(Sequence[T]):
    """Some rows of a sequence, by their positions in it."""

    def __init__(self, rows: Sequence[T], positions: Sequence[int]) -> None:
        self._rows, self._positions = rows, positions

    def __len__(self) -> int:
        return len(self._positions)

    @overload
    def __getitem__(self, position: int) -> T: ...
    @overload
    def __getitem__(self, position: slice) -> list[T]: ...
    def __getitem__(self, position: int | slice) -> T | list[T]:
        if isinstance(position, slice):
            return [self._rows[i] for i in self._positions[position]]
        return self._rows[self._positions[position]]


class Column(Sequence[Any]):
    """One field of the rows of a sequence."""

    def __init__(self, rows: Sequence[Any], name: str) -> None:
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, position: int) -> Any: ...
    @overload
    def __getitem__(self, position: slice) -> list[Any]: ...
    def __getitem__(self, position: int | slice) -> Any:
        if isinstance(position, slice):
            return [row[self._name] for row in self._rows[position]]
        return self._rows[position][self._name]


class DiskMap:
    """Integers or texts by key, in a temporary SQLite file: a few megabytes of memory, whatever it holds.

    Keys are kept as 63-bit hashes: among a million of them, two are alike with a probability of 1e-7.
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for setting in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-4096"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute("CREATE TABLE entry (key INTEGER PRIMARY KEY, value)")
        self._database.execute("BEGIN")  # never committed: it is gone with this object
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def setdefault(self, key: str, value: Any) -> Any:
        """Return the value of a key, which is `value` if it had none."""
        number = hash_key(key)
        added = self._database.execute("INSERT OR IGNORE INTO entry VALUES (?, ?)", (number, value)).rowcount
        if added:
            self._count += 1
            return value
        return self._database.execute("SELECT value FROM entry WHERE key = ?", (number,)).fetchone()[0]

    def add(self, key: str) -> bool:
        """Add a key without a value; return whether it is new."""
        before = self._count
        self.setdefault(key, None)
        return self._count > before

    def get(self, key: str) -> Any:
        """Return the value of a key, None if it has none."""
        row = self._database.execute("SELECT value FROM entry WHERE key = ?", (hash_key(key),)).fetchone()
        return row[0] if row else None


class RowsById:
    """Rows of a sequence by their ids, the first of those with the same one."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows, self._positions = rows, DiskMap()
        for position, row in enumerate(rows):
            self._positions.setdefault(row["id"], position)

    def get(self, row_id: str) -> Any:
        """Return the row with an id, or None."""
        position = self._positions.get(row_id)
        return None if position is None else self._rows[position]

    def __getitem__(self, row_id: str) -> Any:
        row = self.get(row_id)
        if row is None:
            raise KeyError(row_id)
        return row


class DiskArray:
    """A one-dimensional array in a temporary file, written from begin to end and then read by slices."""

    def __init__(self, dtype: str) -> None:
        import numpy as np

        self._dtype = np.dtype(dtype)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115
        self._lock = threading.Lock()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def extend(self, values: np.ndarray) -> None:
        """Add values at the end."""
        self._file.write(values.astype(self._dtype, copy=False).tobytes())
        self._length += len(values)

    def __getitem__(self, part: slice) -> np.ndarray:
        import numpy as np

        start, stop, _ = part.indices(len(self))
        with self._lock:
            self._file.seek(start * self._dtype.itemsize)
            data = self._file.read(max(0, stop - start) * self._dtype.itemsize)
        return np.frombuffer(data, dtype=self._dtype)


def hash_key(text: str) -> int:
    """Compute a hash of a text, from 0 to 2^63 - 1, that is the same in every process."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def hash_keys(texts: Iterable[str]) -> np.ndarray:
    """Compute the hashes of texts: int64 of shape (texts,)."""
    import numpy as np

    return np.fromiter(map(hash_key, texts), dtype=np.int64)
