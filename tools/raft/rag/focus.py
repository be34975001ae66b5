"""Focus retrieved documents on a question: cut them to the sentences that matter for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..choices import FOCUS_SHARE
from ..text.excerpts import Span, join_sentences
from ..text.quotes import find_quote
from .lexical import Lexical

if TYPE_CHECKING:
    import numpy as np

    from .index import Hit
    from .sentences import Sentences

# Kept are the sentences that hold FOCUS_SHARE of the scores' mass, but at least so many. That is more where
# many sentences score alike, as for questions that need several facts. A question about one fact needs less:
# with 0.6 a small model finds it more often (docs/retrieve.md, Focus).
LEAST = 1


class Focus:
    """Cuts documents to their best sentences."""

    def __init__(self, sentences: Sentences, *, share: float = FOCUS_SHARE, least: int = LEAST) -> None:
        self._sentences = sentences
        self.share = share
        self._least = least

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
        quotes = keep or [()] * len(questions)
        compared = self._sentences.compare(questions, texts)
        return [
            self._cut(question, group, documents, cosines, kept)
            for question, group, (documents, cosines), kept in zip(
                questions, texts, compared, quotes, strict=True
            )
        ]

    def _cut(
        self,
        question: str,
        texts: Sequence[str],
        documents: Sequence[Sequence[Span]],
        cosines: np.ndarray,
        quotes: Sequence[str],
    ) -> list[str]:
        sentences = [sentence for spans in documents for _, _, sentence in spans]
        if not sentences:
            return list(texts)
        best = choose(score_sentences(question, sentences, cosines), self.share, self._least)
        cut, start = [], 0
        for text, spans in zip(texts, documents, strict=True):
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
    (ranking,) = Lexical.of(sentences).search([question], len(sentences))
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
