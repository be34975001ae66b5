"""Node: the documents of a question → whether they are likely to hold an answer, and why not."""

from promptflow.core import tool

from tools.raft.rag import answerability


@tool
def check_evidence(documents: list, always_answer: bool = False) -> dict:
    """Return `answerable`, the probability `evidence` of an answer, and in `refusal` why it is not.

    The search rates the documents if `python -m tools calibrate` was run for the index; without that,
    `evidence` is None and every question is answerable.
    """
    return answerability.check_evidence(documents, always_answer=always_answer)
