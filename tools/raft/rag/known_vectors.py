"""Know the vectors of texts: those of an index, and those of a build in progress, kept in a journal."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..on_disk import DiskMap

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder

JOURNAL = "embedded.part"
BLOCK = 8_192  # texts in memory at a time

_SOURCE = 1 << 40  # a place is the number of a source times this, plus a row of it


class KnownVectors:
    """Vectors by text, wherever they are stored; in memory is only where to find the sources.

    New ones are written to a journal in the folder, so that an interrupted build can be resumed: a line with
    the model and the dimensions, then records of equal size, each a 16-byte key and a float32 vector.
    """

    def __init__(self, folder: Path, model: str) -> None:
        """Start with the vectors of an interrupted build with the same model, if there was one."""
        self._places = DiskMap()  # by key
        self._sources: list[np.ndarray] = []  # shape (rows, dimensions)
        self._journal = folder / JOURNAL
        self._head = json.dumps({"model": model}, ensure_ascii=False).encode("utf-8")
        self._model, self._folder = model, folder
        self._journaled: int | None = None  # records of the journal that are known
        self._read_journal()

    @property
    def dimensions(self) -> int:
        """Return the length of the vectors, 0 if none is known."""
        return int(self._sources[0].shape[1]) if self._sources else 0

    def __contains__(self, text: str) -> bool:
        return _key(text).hex() in self._places

    def register(self, texts: Iterable[str], vectors: np.ndarray) -> None:
        """Add a source, with the texts of its rows in order; what is known already stays as it is."""
        self._sources.append(vectors)
        self._place(map(_key, texts), len(self._sources) - 1)

    def embed(
        self,
        texts: Callable[[], Iterable[str]],
        embedder: Embedder,
        on_batch: Callable[[int, int], None] | None = None,
    ) -> DiskMap:
        """Embed the texts that are not known yet; return these.

        `texts` is called twice. Raises UserError if the vectors have another length than those known.
        """
        new = DiskMap()
        total = sum(1 for text in texts() if text not in self and new.add(text))
        done = 0
        waiting = (text for text in texts() if text in new and text not in self)
        while block := list(dict.fromkeys(islice(waiting, BLOCK))):
            with self._journal.open("ab") as file:
                for positions, vectors in embedder.batches(block):
                    self._check_length(vectors.shape[1])
                    if not file.tell():
                        file.write(self._head + f" {vectors.shape[1]}\n".encode())
                    for position, row in zip(positions, vectors, strict=True):
                        file.write(_key(block[position]) + row.astype("<f4").tobytes())
                    file.flush()
                    done += len(positions)
                    if on_batch:
                        on_batch(done, total)
            self._read_journal()
        return new

    def look_up(self, texts: Sequence[str]) -> np.ndarray:
        """Return the vectors of known texts: float32 of shape (texts, dimensions)."""
        import numpy as np

        places = np.array([self._places.get(_key(text).hex()) for text in texts], dtype=np.int64)
        found = np.empty((len(texts), self.dimensions), dtype=np.float32)
        for number, vectors in enumerate(self._sources):
            chosen = places // _SOURCE == number
            found[chosen] = vectors[places[chosen] % _SOURCE]
        return found

    def blocks(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Yield the vectors of known texts in blocks."""
        waiting = iter(texts)
        while block := list(islice(waiting, BLOCK)):
            yield self.look_up(block)

    def remove_journal(self) -> None:
        """Remove the journal once its vectors are in the index."""
        self._sources = []
        self._journal.unlink(missing_ok=True)

    def _check_length(self, length: int) -> None:
        if self._sources and self.dimensions != length:
            raise UserError(
                f"{self._model} now returns vectors of a different length than before: "
                f"remove {self._folder} and build the index again"
            )

    def _read_journal(self) -> None:
        """Register what is in the journal, less a record that was cut off; remove one of another model."""
        import numpy as np

        try:
            with self._journal.open("rb") as file:
                line = file.readline()
        except FileNotFoundError:
            return
        head, _, length = line.rstrip(b"\n").rpartition(b" ")
        if head != self._head or not length.isdigit():
            self._journal.unlink()
            return
        record = np.dtype([("key", "V16"), ("vector", "<f4", (int(length),))])
        count, rest = divmod(self._journal.stat().st_size - len(line), record.itemsize)
        if rest:
            os.truncate(self._journal, len(line) + count * record.itemsize)
        if not count:
            return
        records = np.memmap(self._journal, dtype=record, mode="r", offset=len(line), shape=(count,))
        self._check_length(int(length))
        before, self._journaled = self._journaled, len(records)
        if before is None:
            self._journal_source = len(self._sources)
            self._sources.append(records["vector"])
        else:
            self._sources[self._journal_source] = records["vector"]
        first = before or 0
        self._place(map(bytes, records["key"][first:]), self._journal_source, first)

    def _place(self, keys: Iterable[bytes], source: int, first: int = 0) -> None:
        """Note where the vectors of keys are: in successive rows of a source, beginning with the first."""
        for row, key in enumerate(keys, start=first):
            self._places.setdefault(key.hex(), source * _SOURCE + row)


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]
