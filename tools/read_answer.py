"""Node: the model's reply → final answer, reasoning, and quotes with their places."""

from promptflow.core import tool

from tools.raft.cite import read_reply, show_answer


@tool
def read_answer(text: str, documents: list) -> dict:
    """Take a reply apart and look up its quotes; `reply` is the answer with its sources, for people."""
    answer = read_reply(text or "", documents)
    return {**answer, "reply": show_answer(answer, documents)}
