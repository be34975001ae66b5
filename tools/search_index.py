"""Node: a question → the best-matching chunks, with scores and sources."""

from enum import Enum

from promptflow.core import ToolProvider, tool

from tools.connections import lookup
from tools.index_folder import index_folder
from tools.raft.choices import FOCUS_SHARE
from tools.raft.rag.chat_retriever import ChatRetriever
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
        self._retriever = ChatRetriever(
            index_folder(index),
            embeddings=preload_embeddings,
            focus_share=focus_share,
            lookup=lookup,
            warm=serving(),
        )

    @tool
    def search(self, question: str, k: int, mode: Mode = Mode.fused, focus: bool = False) -> list:
        """Return the k best-matching chunks, each with rank, score, id, text, title, source and page.

        If the index is calibrated, each also has `evidence`, the probability that together they hold an
        answer; with `focus` its best sentences, which the model is shown instead.
        """
        return self._retriever.find(question, k, getattr(mode, "value", mode), focus=focus)
