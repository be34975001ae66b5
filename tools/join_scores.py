"""Node: the scores of several nodes → those that were chosen."""

from typing import Union

from promptflow.core import tool


@tool
def join_scores(
    scores: dict, chosen: dict, similarity: Union[dict, None] = None, verdicts: Union[dict, None] = None
) -> dict:
    """Join the chosen scores and pass on the judge's verdicts; a skipped node contributes nothing."""
    judged = {f"judge_{name}": verdict["score"] for name, verdict in (verdicts or {}).items()}
    joined = {**scores, **(similarity or {}), **judged}
    return {
        "scores": {name: value for name, value in joined.items() if chosen[name]},
        "verdicts": verdicts or {},
    }
