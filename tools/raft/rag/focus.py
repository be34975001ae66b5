"""Focus retrieved documents on a question: cut them to the sentences that matter for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..text.excerpts import Span, join_sentences
from ..text.quotes import find_quote
from ..text.sentences import sentence_spans
from .search import Lexical

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder
    from .index import Hit

# How much is kept: the sentences that hold this share of the scores' mass, but at least so many. That is more
# where many sentences score alike, as for questions that need several facts.
SHARE, LEAST = 0.95, 3


class Focus:
    """Cuts documents to their best sentences; each document is split and embedded once."""

    def __init__(self, embedder: Embedder, *, share: float = SHARE, least: int = LEAST) -> None:
        self._embedder = embedder
        self._share = share
        self._least = least
        self._known: dict[str, tuple[list[Span], Any]] = {}  # text → its sentences and their vectors

    def cut(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Return the documents of each question with `focus`: the best sentences of the text, in their order.

        The text itself stays, for citations and scores.
        """
        excerpts = self.excerpts(questions, [[hit["text"] for hit in hits] for hits in found])
        return [
            [{**hit, "focus": excerpt} for hit, excerpt in zip(hits, cut, strict=True)]
            for hits, cut in zip(found, excerpts, strict=True)
        ]

    def excerpts(
        self, questions: Sequence[str], texts: Sequence[Sequence[str]], *, keep: Sequence[Sequence[str]] = ()
    ) -> list[list[str]]:
        """Return the texts of each question, each cut to its best sentences.

        The sentences of a question's texts compete: a text without any keeps its place, as "…". `keep` has
        quotes for each question: the sentences that they stand in are kept, however they score. Many
        questions in one call are faster.
        """
        self._learn({text for group in texts for text in group})
        if not questions:
            return []
        vectors = self._embedder.embed(questions, role="query")
        quotes = keep or [()] * len(questions)
        return [
            self._cut(question, vector, group, kept)
            for question, vector, group, kept in zip(questions, vectors, texts, quotes, strict=True)
        ]

    def _learn(self, texts: Iterable[str]) -> None:
        """Split and embed the texts that are new."""
        import numpy as np

        new = {text: list(sentence_spans(text)) for text in sorted(texts) if text not in self._known}
        sentences = [sentence for spans in new.values() for _, _, sentence in spans]
        vectors: np.ndarray = self._embedder.embed(sentences) if sentences else np.zeros((0, 1))
        start = 0
        for text, spans in new.items():
            self._known[text] = spans, vectors[start : start + len(spans)]
            start += len(spans)

    def _cut(
        self, question: str, vector: np.ndarray, texts: Sequence[str], quotes: Sequence[str]
    ) -> list[str]:
        import numpy as np

        documents = [self._known[text] for text in texts]
        sentences = [sentence for spans, _ in documents for _, _, sentence in spans]
        if not sentences:
            return list(texts)
        cosines = np.concatenate([vectors @ vector for spans, vectors in documents if spans])
        best = choose(score_sentences(question, sentences, cosines), self._share, self._least)
        cut, start = [], 0
        for text, (spans, _) in zip(texts, documents, strict=True):
            quoted = _quoted(text, spans, quotes)
            positions = [i for i in range(len(spans)) if start + i in best or i in quoted]
            cut.append(join_sentences(text, spans, positions))
            start += len(spans)
        return cut


def _quoted(text: str, spans: Sequence[Span], quotes: Sequence[str]) -> set[int]:
    """Return the positions of the sentences that quotes stand in."""
    positions = set()
    for quote in quotes:
        if found := find_quote(quote, text):
            begin = text.find(found)
            end = begin + len(found)
            positions |= {i for i, (start, stop, _) in enumerate(spans) if start < end and begin < stop}
    return positions


def score_sentences(question: str, sentences: Sequence[str], cosines: np.ndarray) -> np.ndarray:
    """Score sentences for a question: BM25 among these sentences plus cosine, each in standard deviations."""
    import numpy as np

    lexical = np.zeros(len(sentences))
    (ranking,) = Lexical(sentences).search([question], len(sentences))
    for position, score in ranking:
        lexical[position] = score
    return _standardise(lexical) + _standardise(cosines)


def _standardise(values: np.ndarray) -> np.ndarray:
    return (values - values.mean()) / (values.std() + 1e-9)


def choose(scores: np.ndarray, share: float, least: int) -> set[int]:
    """Return the positions of the best scores, so many that they hold `share` of the mass of exp(score)."""
    import numpy as np

    mass = np.exp(scores - scores.max())
    order = np.argsort(-scores, kind="stable")
    count = int(np.searchsorted(np.cumsum(mass[order]) / mass.sum(), share)) + 1
    return set(order[: max(count, least)].tolist())
