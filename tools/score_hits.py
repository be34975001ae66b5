"""Node: hits and relevant chunks, or the right call → recall, reciprocal rank and nDCG of one question."""

from promptflow.core import tool

from tools.raft.evaluate.retrieval_metrics import score_hits as score


@tool
def score_hits(hits: list, relevant: list, k: int, api_call: str = "") -> dict:
    """Score the hits of one question; return an empty dict if nothing is known to be relevant."""
    return score(hits, relevant, k, api_call)
