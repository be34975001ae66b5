"""Node: a line of questions.jsonl → its chunk and its draft, both sanitized."""

from promptflow.core import tool

from tools.raft.generate import batches


@tool
def read_question(chunk: dict, draft: dict) -> dict:
    """Check that both are what `ask_questions` writes; return "chunk" and "draft"."""
    checked, question = batches.read_question(chunk, draft)
    return {"chunk": checked, "draft": question}
