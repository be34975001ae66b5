"""Node: retrieved documents and a question → the instruction, in the form of the training rows."""

from promptflow.core import tool

from tools.raft.rag import answer


@tool
def build_instruction(documents: list, question: str) -> str:
    """Wrap each document in its tags, with the question below; all text is sanitized."""
    return answer.build_instruction(documents, question)
