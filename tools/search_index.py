"""Node: a question → the best-matching chunks, with scores and sources."""

from enum import Enum
from typing import Literal

from promptflow.core import ToolProvider, tool

from tools.connections import lookup
from tools.index_folder import index_folder
from tools.raft.choices import FOCUS_SHARE
from tools.raft.rag.answerability import open_answerability
from tools.raft.rag.focus import Focus
from tools.raft.rag.index import open_index
from tools.warm_up import serving


class Mode(str, Enum):
    """Lexical, dense, or both fused by reciprocal rank."""

    fused = "fused"
    dense = "dense"
    lexical = "lexical"


class SearchIndex(ToolProvider):
    """Hold an index, opened once: before a batch forks its workers, and for all calls of an endpoint.

    RAFT_INDEX in the environment names another one: that of a run, or of a deployment.
    """

    def __init__(self, index: str, preload_embeddings: bool = True, focus_share: float = FOCUS_SHARE) -> None:
        super().__init__()
        self._index = open_index(index_folder(index), lookup=lookup)
        mode: Literal["fused", "lexical"] = "fused" if preload_embeddings else "lexical"
        self._index.prepare(mode)  # once: not in each worker of a batch, nor in a first request
        self._answerability = open_answerability(self._index)
        self._focus = Focus(self._index.sentences, share=focus_share)
        if serving():
            self._index.search(["warm up"], 1, mode)

    @tool
    def search(self, question: str, k: int, mode: Mode = Mode.fused, focus: bool = False) -> list:
        """Return the k best-matching chunks, each with rank, score, id, text, title, source and page.

        If the index is calibrated, each also has `evidence`, the probability that together they hold an
        answer; with `focus` its best sentences, which the model is shown instead.
        """
        found = self._index.search([question], k, getattr(mode, "value", mode))
        rated = self._answerability.rate([question], found) if self._answerability else found
        return (self._focus.cut([question], rated) if focus else rated)[0]
