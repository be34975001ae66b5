"""Node: retrieved documents and a question → the text a model reads, as in the training rows."""

from promptflow.core import tool

from tools.raft.rag import answer


@tool
def build_instruction(documents: list, question: str) -> str:
    """Put each document between its tags and the question below them; no text gets out of its place."""
    return answer.build_instruction(documents, question)
