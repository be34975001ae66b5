"""Choose metrics by name, and average them over many answers, those that are missing counted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from .judge import ABOUT, JUDGED
from .score import METRICS, Metric, Scores, check_metrics

KNOWN: dict[str, Metric] = {**METRICS, **JUDGED}


def choose_metrics(text: str) -> dict[str, bool]:
    """Read which metrics a user wants: names with commas, `all` that need no judge, `judge` for all that do.

    Gives for every metric whether it is wanted, and under `judge` whether any of the judge's is. Raises
    UserError for a name there is not.
    """
    named = [name for name in re.split(r"[,;\s]+", text) if name]
    wanted = check_metrics(set(named) - {"all", "judge"}, KNOWN)
    wanted |= set(METRICS) if "all" in named or not named else set()
    wanted |= set(JUDGED) if "judge" in named else set()
    return {**{name: name in wanted for name in KNOWN}, "judge": not wanted.isdisjoint(JUDGED)}


def judged_names(chosen: Mapping[str, bool]) -> list[str]:
    """Give the judgements among the chosen metrics."""
    return [name for name in ABOUT if chosen.get(f"judge_{name}")]


def average_metrics(scores: Sequence[Scores], lines: int = 0) -> dict[str, float]:
    """Average each metric over the answers that have it: `f1`, beside it `f1.n` and `f1.missing`.

    Missing are scores that are None, and the lines of `lines` that are not among the scores, as their line
    failed. A metric that all answers miss has no average. Where one does not apply, it is neither.
    """
    lost = max(0, lines - len(scores))
    metrics: dict[str, float] = {"answers": len(scores), "answers.missing": lost}
    for name in KNOWN:
        values = [row[name] for row in scores if name in row]
        if not values:
            continue
        there = [value for value in values if value is not None]
        if there:
            metrics[name] = sum(there) / len(there)
        metrics[f"{name}.n"] = len(there)
        metrics[f"{name}.missing"] = len(values) - len(there) + lost
    return metrics
