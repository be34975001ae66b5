"""Node: the documents of a question → whether they are likely to hold an answer, and why not."""

from promptflow.core import tool

from tools.raft.rag.answerability import explain_refusal


@tool
def check_evidence(documents: list, always_answer: bool = False) -> dict:
    """Return `answerable`, the probability `evidence` of an answer, and in `refusal` why it is not.

    The search rates the documents if `python -m tools calibrate` was run for the index; without that,
    `evidence` is None and every question is answerable.
    """
    refusal = "" if always_answer else explain_refusal(documents)
    evidence = documents[0].get("evidence") if documents else None
    return {"answerable": not refusal, "evidence": evidence, "refusal": refusal}
