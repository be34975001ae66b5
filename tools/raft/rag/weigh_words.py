"""Weigh the words of texts for BM25, on disk beyond a number of texts."""

from __future__ import annotations

import logging
import re
import sys
from array import array
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from ..on_disk import DiskArray, DiskTexts, hash_keys
from ..text.normalise import UNSPACED, fold

if TYPE_CHECKING:
    import numpy as np

# Texts that are weighed at a time. Beyond, the weights are on disk, and what is weighed together are every
# nth of n groups, so that the texts of each are a fair sample: rarity and average length hardly differ.
GROUP = 16_384
_PARTS = 64  # in which the words of all groups are merged
_DTYPES = ("int64", "int64", "int32", "float32")

_UNSPACED_RUN = re.compile(UNSPACED.pattern + "+")


def words(text: str) -> list[str]:
    """Split text into lower-case words for BM25; scripts without spaces into character bigrams."""
    tokens: list[str] = []
    for word in re.findall(r"\w+", fold(text).casefold()):
        start = 0
        for run in _UNSPACED_RUN.finditer(word):
            tokens += [word[start : run.start()]] if run.start() > start else []
            characters = run.group()
            tokens += [characters[i : i + 2] for i in range(max(1, len(characters) - 1))]
            start = run.end()
        tokens += [word[start:]] if start < len(word) else []
    return tokens


class Weights(NamedTuple):
    """The weights of a matrix of words and texts, by word; all in memory, or all on disk."""

    words: Any  # in the order of their hashes
    hashes: Any  # ascending: int64 of shape (words,)
    starts: Any  # of each word's texts, and the end: int64 of shape (words + 1,)
    texts: Any  # positions: int32 of shape (weights,)
    values: Any  # the weights: float32 of the same shape


def weigh_words(texts: Sequence[str]) -> Weights:
    """Compute the BM25 weights of the words of texts."""
    groups = -(-len(texts) // GROUP)
    weighed = (_weigh(texts, range(i, len(texts), groups)) for i in range(groups))
    return next(weighed) if groups == 1 else _merge(list(map(_Group, weighed)))


def _import_bm25s() -> Any:
    """Import bm25s, but not JAX with it: where that is installed, it takes most of a GPU's memory at once."""
    hidden = sys.modules.setdefault("jax", None) is None  # type: ignore[arg-type]
    try:
        import bm25s
    finally:
        if hidden:
            del sys.modules["jax"]
    logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG
    return bm25s


def _weigh(texts: Sequence[str], positions: Sequence[int]) -> Weights:
    """Compute the weights of some of the texts."""
    import numpy as np

    bm25s = _import_bm25s()
    numbers: dict[str, int] = {}
    # bm25s cannot index texts without a single word; a space stands for one without words.
    numbered = [
        array("i", [numbers.setdefault(word, len(numbers)) for word in words(texts[i]) or [" "]])
        for i in positions
    ]
    index = bm25s.BM25()
    index.index((numbered, numbers), create_empty_token=False, show_progress=False)
    hashes = hash_keys(numbers)
    order = np.argsort(hashes)
    begins, ends = index.scores["indptr"][order], index.scores["indptr"][order + 1]
    picked = _in_ranges(begins, ends)
    return Weights(
        np.array(list(numbers), dtype=object)[order].tolist(),
        hashes[order],
        np.concatenate([[0], np.cumsum(ends - begins)]),
        np.asarray(positions, dtype=np.int32)[index.scores["indices"][picked]],
        index.scores["data"][picked],
    )


def _in_ranges(begins: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return all positions from begins[0] to ends[0], then from begins[1] to ends[1], and so on."""
    import numpy as np

    lengths = ends - begins
    before = np.cumsum(lengths) - lengths
    return np.repeat(begins - before, lengths) + np.arange(lengths.sum())


def _new_weights() -> Weights:
    """Return weights on disk, to be extended."""
    return Weights(DiskTexts(), *map(DiskArray, _DTYPES))


class _Group:
    """The weights of a group on disk, to be read in parts by the words' hashes."""

    def __init__(self, weights: Weights) -> None:
        import numpy as np

        self._arrays = _new_weights()
        for stored, values in zip(self._arrays, weights, strict=True):
            stored.extend(values)
        edges = np.arange(1, _PARTS, dtype=np.int64) * (2**63 // _PARTS)
        cuts = np.searchsorted(weights.hashes[:], edges)
        self._cuts = [0, *cuts.tolist(), len(self._arrays.hashes)]

    def read(self, part: int) -> Weights:
        """Return the weights of the words in a part."""
        first, last = self._cuts[part : part + 2]
        starts = self._arrays.starts[first : last + 1]
        texts = slice(int(starts[0]), int(starts[-1]))
        return Weights(
            self._arrays.words[first:last],
            self._arrays.hashes[first:last],
            starts - starts[0],
            self._arrays.texts[texts],
            self._arrays.values[texts],
        )


def _merge(groups: Sequence[_Group]) -> Weights:
    """Put together the weights of all groups, on disk."""
    import numpy as np

    merged = _new_weights()
    merged.starts.extend(np.zeros(1))
    for part in range(_PARTS):
        read = [group.read(part) for group in groups]
        hashes = np.concatenate([weights.hashes for weights in read])
        sizes = np.array([len(weights.texts) for weights in read])
        bases = np.cumsum(sizes) - sizes
        begins = np.concatenate(
            [weights.starts[:-1] + base for weights, base in zip(read, bases, strict=True)]
        )
        ends = np.concatenate([weights.starts[1:] + base for weights, base in zip(read, bases, strict=True)])
        order = np.argsort(hashes, kind="stable")
        picked = _in_ranges(begins[order], ends[order])
        unique, first = np.unique(hashes[order], return_index=True)
        lengths = np.add.reduceat((ends - begins)[order], first) if len(first) else np.zeros(0)
        words = list(chain.from_iterable(weights.words for weights in read))
        merged.words.extend([words[place] for place in order[first].tolist()])
        merged.starts.extend(len(merged.texts) + np.cumsum(lengths))
        merged.hashes.extend(unique)
        for name in ("texts", "values"):
            values = np.concatenate([getattr(weights, name) for weights in read])
            getattr(merged, name).extend(values[picked])
    return merged
