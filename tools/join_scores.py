"""Node: scores of several nodes → the chosen ones together."""

from promptflow.core import tool


@tool
def join_scores(scores: dict, similarity: dict, verdicts: dict, chosen: dict) -> dict:
    """Join them, and hand on what the judge said; a node that was left out has nothing to add."""
    told = {f"judge_{name}": verdict["score"] for name, verdict in (verdicts or {}).items()}
    joined = {**scores, **(similarity or {}), **told}
    return {
        "scores": {name: value for name, value in joined.items() if chosen[name]},
        "verdicts": verdicts or {},
    }
