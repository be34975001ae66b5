"""Node: an answer and its gold data → the scores that need no model."""

from promptflow.core import tool

from tools.raft.evaluate.score import read_gold, score_answer as score


@tool
def score_answer(answer: dict, gold: dict) -> dict:
    """Score one answer: exact match, F1, format, quotes, citations, refusals, lengths."""
    return score(answer, read_gold(gold))
