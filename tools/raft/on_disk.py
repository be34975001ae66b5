"""Keep on disk what would grow in memory with a corpus: rows by number, values by key, arrays by slice."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sqlite3
import tempfile
import threading
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, overload

from .files import json_line

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

_BLOCK = 8_192  # texts in memory at a time


class _Rows(Sequence[T]):
    """A sequence that gets its rows one by one, those of a slice as a list."""

    @abstractmethod
    def _row(self, position: int) -> T: ...

    @overload
    def __getitem__(self, position: int) -> T: ...
    @overload
    def __getitem__(self, position: slice) -> list[T]: ...
    def __getitem__(self, position: int | slice) -> T | list[T]:
        if isinstance(position, slice):
            return [self._row(i) for i in range(*position.indices(len(self)))]
        if not -len(self) <= position < len(self):
            raise IndexError(position)
        return self._row(position % len(self))


class RowFile(_Rows[Any]):
    """JSON values in the lines of a file, read one at a time: eight bytes of memory for each.

    Without a path the file is a temporary one, to which rows can be appended. Threads and forked processes
    may read it at the same time.
    """

    def __init__(self, path: Path | None = None, starts: Any = None) -> None:
        """Open a file that has no blank lines; it must not change as long as this object lives.

        starts: where its rows start and the last one ends, as `starts` of an earlier object.
        """
        self._file = _File(path)
        self.starts = array("Q", [0]) if starts is None else starts
        if path and starts is None:
            with path.open("rb") as file:
                for line in file:
                    self.starts.append(self.starts[-1] + len(line))

    @classmethod
    def of(cls, rows: Iterable[Any]) -> RowFile:
        """Write rows to a temporary file."""
        file = cls()
        for row in rows:
            file.append(row)
        return file

    def append(self, row: Any) -> None:
        """Add a row at the end of a temporary file."""
        line = json_line(row).encode("utf-8", "surrogatepass")
        self._file.append(line)
        self.starts.append(self.starts[-1] + len(line))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _row(self, position: int) -> Any:
        start, end = int(self.starts[position]), int(self.starts[position + 1])
        return json.loads(self._file.read([start], end - start))


class Subset(_Rows[T]):
    """Some rows of a sequence, by their positions in it."""

    def __init__(self, rows: Sequence[T], positions: Sequence[int]) -> None:
        self._rows, self._positions = rows, positions

    def __len__(self) -> int:
        return len(self._positions)

    def _row(self, position: int) -> T:
        return self._rows[self._positions[position]]


class Column(_Rows[Any]):
    """One field of the rows of a sequence."""

    def __init__(self, rows: Sequence[Any], name: str) -> None:
        self._rows, self._name = rows, name

    def __len__(self) -> int:
        return len(self._rows)

    def _row(self, position: int) -> Any:
        return self._rows[position][self._name]


class Lines:
    """The lines of a text file, read whenever they are iterated over."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> Iterator[str]:
        with self._path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield line.rstrip("\n")


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

    def __contains__(self, key: str) -> bool:
        query = "SELECT 1 FROM entry WHERE key = ?"
        return self._database.execute(query, (hash_key(key),)).fetchone() is not None

    def add(self, key: str) -> bool:
        """Add a key without a value; return whether it is new."""
        before = self._count
        self.setdefault(key, None)
        return self._count > before

    def compute(self, key: str, make: Callable[[str], Any]) -> Any:
        """Return the value of a key, which `make` computes from the key if it had none."""
        found = self.get(key)
        return self.setdefault(key, make(key)) if found is None else found

    def get(self, key: str) -> Any:
        """Return the value of a key, None if it has none."""
        row = self._database.execute("SELECT value FROM entry WHERE key = ?", (hash_key(key),)).fetchone()
        return row[0] if row else None


def positions_by_id(rows: Iterable[Any]) -> DiskMap:
    """Return the positions of rows by their ids, the first of those with the same one."""
    positions = DiskMap()
    for position, row in enumerate(rows):
        positions.setdefault(row["id"], position)
    return positions


class RowsById:
    """Rows of a sequence by their ids, the first of those with the same one."""

    def __init__(self, rows: Sequence[Any]) -> None:
        self._rows, self._positions = rows, positions_by_id(rows)

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
    """An array on disk, read by its rows: in NumPy's format, or in a temporary file that it is added to.

    Nothing is mapped into memory, so that what was read does not count as memory of the process.
    """

    def __init__(self, dtype: str, width: int = 0) -> None:
        """Start an array of shape (0,) or, with a width, (0, width)."""
        import numpy as np

        self._file, self._offset = _File(), 0
        self.dtype = np.dtype(dtype)
        self.shape: tuple[int, ...] = (0, width) if width else (0,)

    @classmethod
    def open(cls, path: Path) -> DiskArray:
        """Open an array that is stored in NumPy's format."""
        import numpy as np

        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            array = cls(dtype.str)
            array._offset = file.tell()
        array._file, array.shape = _File(path), shape
        return array

    def __len__(self) -> int:
        return self.shape[0]

    def extend(self, rows: np.ndarray) -> None:
        """Add rows at the end."""
        self._file.append(rows.astype(self.dtype, copy=False).tobytes())
        self.shape = (len(self) + len(rows), *self.shape[1:])

    def rows(self, positions: Iterable[int]) -> np.ndarray:
        """Read some rows."""
        size = self._row_size
        return self._parse(self._file.read([self._offset + row * size for row in positions], size))

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(len(self))
        size = self._row_size
        return self._parse(self._file.read([self._offset + start * size], max(0, stop - start) * size))

    @property
    def _row_size(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])

    def _parse(self, data: bytes) -> np.ndarray:
        import numpy as np

        return np.frombuffer(data, dtype=self.dtype).reshape(-1, *self.shape[1:])


class DiskTexts:
    """Texts in temporary files, added at the end and read by slices or one after another."""

    def __init__(self) -> None:
        import numpy as np

        self._bytes, self._starts = DiskArray("uint8"), DiskArray("int64")
        self._starts.extend(np.zeros(1))

    def __len__(self) -> int:
        return len(self._starts) - 1

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts."""
        import numpy as np

        encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
        self._starts.extend(len(self._bytes) + np.cumsum([len(text) for text in encoded], dtype=np.int64))
        self._bytes.extend(np.frombuffer(b"".join(encoded), dtype=np.uint8))

    def __getitem__(self, part: slice) -> list[str]:
        start, stop, _ = part.indices(len(self))
        starts = self._starts[start : stop + 1].tolist()
        data = self._bytes[starts[0] : starts[-1]].tobytes()
        return [
            data[a - starts[0] : b - starts[0]].decode("utf-8", "surrogatepass") for a, b in pairwise(starts)
        ]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]


class _File:
    """A file that is read at any place, and a temporary one that is also appended to."""

    def __init__(self, path: Path | None = None) -> None:
        self._file: IO[bytes] = path.open("rb") if path else tempfile.TemporaryFile()  # noqa: SIM115
        self._unwritten = False
        self._lock = threading.Lock()

    def append(self, data: bytes) -> None:
        with self._lock:
            if not self._unwritten:
                self._file.seek(0, os.SEEK_END)
                self._unwritten = True
            self._file.write(data)

    def read(self, starts: Iterable[int], size: int) -> bytes:
        """Return the bytes at some places, as many at each, joined."""
        with self._lock:
            if self._unwritten:
                self._file.flush()
                self._unwritten = False
            if not hasattr(os, "pread"):
                return b"".join([self._read_from(start, size) for start in starts])
        # Forked processes share the place of a file, which this leaves alone.
        pread, number = os.pread, self._file.fileno()
        return b"".join([pread(number, size, start) for start in starts])

    def _read_from(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size)


def hash_key(text: str) -> int:
    """Compute a hash of a text, from 0 to 2^63 - 1, that is the same in every process."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def hash_keys(texts: Iterable[str]) -> np.ndarray:
    """Compute the hashes of texts: int64 of shape (texts,)."""
    import numpy as np

    return np.fromiter(map(hash_key, texts), dtype=np.int64)
