"""Focus retrieved documents on a question: cut them to the sentences that matter for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..text.sentences import sentence_spans
from .search import Lexical

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder
    from .index import Hit

# How much is kept: the sentences that hold this share of the scores' mass, but at least so many. That is more
# where many sentences score alike, as for questions that need several facts.
SHARE, LEAST = 0.95, 3
GAP = "…"  # in place of sentences that are left out

Span = tuple[int, int, str]  # start and end in the text, and the sentence with its white space folded


class Focus:
    """Cuts documents to their best sentences; each document is split and embedded once."""

    def __init__(self, embedder: Embedder, *, share: float = SHARE, least: int = LEAST) -> None:
        self._embedder = embedder
        self._share = share
        self._least = least
        self._known: dict[str, tuple[list[Span], Any]] = {}  # text → its sentences and their vectors

    def cut(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Return the documents of each question with `focus`: the best sentences of the text, in their order.

        The sentences of a question's documents compete: a document without any keeps its place, as "…".
        The text itself stays, for citations and scores. Many questions in one call are faster.
        """
        self._learn({hit["text"] for hits in found for hit in hits})
        if not questions:
            return []
        vectors = self._embedder.embed(questions, role="query")
        return [
            self._cut(question, vector, hits)
            for question, vector, hits in zip(questions, vectors, found, strict=True)
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

    def _cut(self, question: str, vector: np.ndarray, hits: Sequence[Hit]) -> list[Hit]:
        import numpy as np

        documents = [self._known[hit["text"]] for hit in hits]
        sentences = [sentence for spans, _ in documents for _, _, sentence in spans]
        if not sentences:
            return [{**hit, "focus": hit["text"]} for hit in hits]
        cosines = np.concatenate([vectors @ vector for spans, vectors in documents if spans])
        kept = choose(score_sentences(question, sentences, cosines), self._share, self._least)
        cut, start = [], 0
        for hit, (spans, _) in zip(hits, documents, strict=True):
            positions = [i for i in range(len(spans)) if start + i in kept]
            cut.append(join_sentences(hit["text"], spans, positions))
            start += len(spans)
        return [{**hit, "focus": text} for hit, text in zip(hits, cut, strict=True)]


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


def join_sentences(text: str, spans: Sequence[Span], positions: Sequence[int]) -> str:
    """Return the sentences at these positions of a text, verbatim, with "…" for each gap."""
    parts: list[str] = []
    after = -1  # position of the sentence before
    for position in positions:
        start, end, _ = spans[position]
        if position != after + 1:
            parts.append(f" {GAP} " if parts else f"{GAP} ")
        elif parts:  # what separates neighbours, a space or a line break
            parts.append(text[spans[after][1] : start])
        parts.append(text[start:end])
        after = position
    if not parts:
        return GAP
    return "".join(parts) + ("" if after == len(spans) - 1 else f" {GAP}")
