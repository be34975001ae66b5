"""Node: the documents of an answer → the same with their texts."""

from promptflow.core import ToolProvider, tool

from tools.index_folder import index_folder
from tools.raft.rag.index import look_up_texts


class LookUpDocuments(ToolProvider):
    """Know the index of the documents; RAFT_INDEX in the environment names another one."""

    def __init__(self, index: str) -> None:
        super().__init__()
        self._folder = index_folder(index)

    @tool
    def look_up(self, answer: dict) -> dict:
        """Return the answer; documents that come without a text get it by their id."""
        documents = answer["documents"]
        return {**answer, "documents": documents and look_up_texts(documents, self._folder)}
