"""Find the documents of a question as the chat flows do: search, rate what was found, cut it to its focus."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ..choices import FOCUS_SHARE, Mode
from ..models.endpoint import Lookup
from .answerability import open_answerability
from .focus import Focus
from .index import Hit, open_index


class ChatRetriever:
    """An index, opened once, with what was fitted for it."""

    def __init__(
        self,
        folder: Path,
        *,
        embeddings: bool = True,
        focus_share: float = FOCUS_SHARE,
        lookup: Lookup | None = None,
        warm: bool = False,
    ) -> None:
        """Open the index. Raises UserError if it is missing or damaged.

        embeddings: load the embedding model now. lookup: as of `resolve_endpoint`. warm: search once, so that
        the first question need not wait; not where processes are forked afterwards.
        """
        self.index = open_index(folder, lookup=lookup)
        mode: Literal["fused", "lexical"] = "fused" if embeddings else "lexical"
        self.index.prepare(mode)
        self._answerability = open_answerability(self.index)
        self._focus = Focus(self.index.sentences, share=focus_share)
        if warm:
            self.index.search(["warm up"], 1, mode)

    def find(self, question: str, k: int, mode: Mode = "fused", *, focus: bool = False) -> list[Hit]:
        """Return the k best-matching chunks, each with rank, score, id, text, title, source and page.

        If the index is calibrated, each also has `evidence`, the probability that together they hold an
        answer; with `focus` its best sentences, which the model is shown instead.
        """
        found = self.index.search([question], k, mode)
        rated = self._answerability.rate([question], found) if self._answerability else found
        return (self._focus.cut([question], rated) if focus else rated)[0]
