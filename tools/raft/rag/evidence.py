"""Measure how much evidence of an answer the documents of a question hold, without asking a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import permutations
from typing import TYPE_CHECKING

from .weigh_words import words

if TYPE_CHECKING:
    import numpy as np

    from .index import Hit, Index

_STEM = 5  # letters of a word that are compared, so that its ending does not matter
_LEAD_OVER = 4  # rank of the sentence that the best one is compared with, from 0

# What is measured. A word weighs as much as it is rare in the index (the idf of BM25); numbers stay whole.
FEATURES = {
    "closest": "cosine of the question and the closest sentence",
    "lead": "by how much that cosine exceeds that of the fifth sentence",
    "in_sentence": "share of the question's words, by weight, that a single sentence has",
    "in_document": "share that a single document has, its title included",
    "in_all": "share that all documents have together",
    "title": "share of the words of a document's title, by weight, that the question has",
    "linked": "of two documents of which one names the other's title: the share that both have together",
}


class Evidence:
    """Measures the evidence for questions about the chunks of an index."""

    def __init__(self, index: Index) -> None:
        self._index = index

    @cached_property
    def _weights(self) -> tuple[dict[str, float], float]:
        """Return the weight of each stem in the index, and that of any other."""
        import numpy as np

        counts: dict[str, int] = {}
        for word, count in self._index.lexical.count_texts():
            stem = _stem(word)
            counts[stem] = counts.get(stem, 0) + count
        total = len(self._index.chunks)

        def weight(count: int) -> float:
            return float(np.log1p((total - min(count, total) + 0.5) / (min(count, total) + 0.5)))

        return {stem: weight(count) for stem, count in counts.items()}, weight(0)

    def measure(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> np.ndarray:
        """Return the features of each question and its documents: shape (questions, FEATURES)."""
        import numpy as np

        texts = [[hit["text"] for hit in hits] for hits in found]
        compared = self._index.sentences.compare(questions, texts)
        rows = []
        for question, hits, (documents, cosines) in zip(questions, found, compared, strict=True):
            sentences = [[_stems(text) for _, _, text in spans] for spans in documents]
            titles = [_stems(hit["title"]) for hit in hits]
            rows.append(self._measure(_stems(question), titles, sentences, cosines))
        return np.array(rows).reshape(len(rows), len(FEATURES))

    def _measure(
        self,
        question: set[str],
        titles: Sequence[set[str]],
        sentences: Sequence[Sequence[set[str]]],
        cosines: np.ndarray,
    ) -> list[float]:
        weights, unknown = self._weights

        def share(part: set[str], whole: set[str]) -> float:
            total = sum(weights.get(stem, unknown) for stem in whole)
            return sum(weights.get(stem, unknown) for stem in part & whole) / total if total else 0.0

        texts = [set[str]().union(*found) for found in sentences]
        documents = [title | text for title, text in zip(titles, texts, strict=True)]
        # Two steps to an answer: the second document is about something that the first one names.
        linked = (
            share(texts[i], titles[j]) * share(documents[i] | documents[j], question)
            for i, j in permutations(range(len(documents)), 2)
            if titles[i] != titles[j]
        )
        ranked = sorted(cosines.tolist(), reverse=True) or [0.0]
        return [
            ranked[0],
            ranked[0] - ranked[min(_LEAD_OVER, len(ranked) - 1)],
            max((share(stems, question) for found in sentences for stems in found), default=0.0),
            max((share(stems, question) for stems in documents), default=0.0),
            share(set().union(*documents), question),
            max((share(question, title) for title in titles), default=0.0),
            max(linked, default=0.0),
        ]


def _stems(text: str) -> set[str]:
    return {_stem(word) for word in words(text)}


def _stem(word: str) -> str:
    return word if word.isdigit() else word[:_STEM]
