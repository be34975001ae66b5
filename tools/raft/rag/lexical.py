"""Search texts by their words: BM25."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..on_disk import hash_key
from .weigh_words import Weights, weigh_words, words

Ranking = list[tuple[int, float]]  # (position of a chunk, score), best first

_SPARSE = 64  # words for each whose hash is in memory


class Lexical:
    """BM25 over texts: for each word, by its hash, the texts that have it and their weights."""

    def __init__(self, weights: Weights, count: int) -> None:
        """Take the weights of `count` texts."""
        self.weights, self._count = weights, count
        # Words are found by their hashes, the first of each few of which shows where to look for another.
        self._first = weights.hashes[:][::_SPARSE].copy()

    @classmethod
    def of(cls, texts: Sequence[str]) -> Lexical:
        """Weigh the words of texts."""
        return cls(weigh_words(texts), len(texts))

    def search(self, queries: Sequence[str], k: int) -> list[Ranking]:
        """Return the k best texts for each query, leaving out those that share no word with it.

        Of texts with the same score, those that come first are better.
        """
        return [self._search(query, min(k, self._count)) for query in queries]

    def count_texts(self) -> Iterator[tuple[str, int]]:
        """Yield each word with the number of texts that have it."""
        import numpy as np

        counts = np.diff(self.weights.starts[:]).tolist()
        for word, count in zip(self.weights.words, counts, strict=True):
            if word.strip():  # not what stands for a text without words
                yield word, count

    def _search(self, query: str, k: int) -> Ranking:
        import numpy as np

        scores = np.zeros(self._count, dtype=np.float32)
        for word in words(query):
            start, end = self._find(word)
            np.add.at(scores, self.weights.texts[start:end], self.weights.values[start:end])
        # Few texts come close to the best: they are found much faster than by partitioning all scores.
        best = scores.max()
        for share in (0.75, 0.5, 0.25, 0.1, 0.0):
            found = np.flatnonzero(scores > share * best)
            if len(found) >= k:
                break
        order = np.argsort(-scores[found], kind="stable")[:k]
        return list(zip(found[order].tolist(), scores[found[order]].tolist(), strict=True))

    def _find(self, word: str) -> tuple[int, int]:
        """Return where the texts of a word start and end."""
        import numpy as np

        key = hash_key(word)
        block = max(0, int(np.searchsorted(self._first, key, side="right")) - 1) * _SPARSE
        hashes = self.weights.hashes[block : block + _SPARSE]
        place = int(np.searchsorted(hashes, key))
        if place == len(hashes) or hashes[place] != key:
            return 0, 0
        start, end = self.weights.starts[block + place : block + place + 2]
        return int(start), int(end)
