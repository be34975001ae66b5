"""Split documents into sentences and compare each with a question."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..text.excerpts import Span
from ..text.sentences import sentence_spans

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder

KEPT = 4_096  # texts whose sentences stay in memory: 60 MB with ten sentences each

# The vectors of a text's sentences, if they are stored: float32 of shape (sentences, dimensions).
Stored = Callable[[str], "np.ndarray | None"]


class Sentences:
    """Embeds the sentences of documents; those that an index has stored, or met lately, at no cost."""

    def __init__(self, embedder: Embedder, stored: Stored = lambda text: None) -> None:
        """Take the vectors that are stored from `stored`, which returns None for other texts."""
        self._embedder = embedder
        self._stored = stored
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[list[Span], np.ndarray]] = OrderedDict()

    def compare(
        self, questions: Sequence[str], texts: Sequence[Sequence[str]]
    ) -> list[tuple[list[list[Span]], np.ndarray]]:
        """Return the sentences of each question's texts, and the cosine of each of them with the question.

        The cosines are one array for all texts of a question, in order. Many questions in one call are
        faster.
        """
        import numpy as np

        if not questions:
            return []
        documents = self._learn([text for group in texts for text in group])
        vectors = self._embedder.embed_queries(questions)
        compared = []
        for vector, group in zip(vectors, texts, strict=True):
            known = [documents[text] for text in group]
            cosines = [np.zeros(0, np.float32), *(rows @ vector for spans, rows in known if spans)]
            compared.append(([spans for spans, _ in known], np.concatenate(cosines)))
        return compared

    def _learn(self, texts: Sequence[str]) -> dict[str, tuple[list[Span], np.ndarray]]:
        """Return the sentences and their vectors by text; split and embed those that are new."""
        import numpy as np

        found: dict[str, tuple[list[Span], np.ndarray]] = {}
        new: dict[str, list[Span]] = {}
        for text in dict.fromkeys(texts):
            if (known := self._known.get(text)) is not None:
                found[text] = known
                continue
            spans = list(sentence_spans(text))
            vectors = self._stored(text)
            if vectors is not None and len(vectors) == len(spans):
                found[text] = spans, vectors
            else:
                new[text] = spans
        sentences = list(dict.fromkeys(sentence for spans in new.values() for _, _, sentence in spans))
        matrix = self._embedder.embed(sentences) if sentences else np.zeros((0, 1), np.float32)
        positions = {sentence: position for position, sentence in enumerate(sentences)}
        for text, spans in new.items():
            found[text] = spans, matrix[[positions[sentence] for _, _, sentence in spans]]
        with self._lock:  # an endpoint's requests share these
            for text in found:
                self._known[text] = found[text]
                self._known.move_to_end(text)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found
