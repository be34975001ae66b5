"""Score yes/no/maybe answers, as PubMedQA's questions have them: decision, accuracy, macro-F1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, cast

Decision = Literal["yes", "no", "maybe"]
DECISIONS: tuple[Decision, ...] = ("yes", "no", "maybe")

_WORD = "(?:" + "|".join(DECISIONS) + r")(?![^\W_])"
# "No effect was found" and "yes or no" begin with such a word, too, but decide nothing.
_DECISION = re.compile(
    rf"[\W_]*({_WORD})"
    r"(?![-/'’]\w)"  # no-one, yes/no
    rf"(?!\s*[,|/]\s*(?:(?:or|and)\s+)?(?!\1){_WORD})"  # yes, no or maybe
    r"(?=\s*(?:$|[^\w\s]|_)|[ \t]*\n|\s+(?:because|since|as)\b)",
    re.IGNORECASE,
)


def read_decision(answer: str) -> Decision | None:
    """Read the decision at the beginning of a final answer; None if there is none.

    Case and punctuation are ignored. The word stands alone, or an explanation follows a punctuation mark, a
    line end, "because", "since" or "as". A list of several decisions is none.
    """
    found = _DECISION.match(answer)
    return cast(Decision, found.group(1).lower()) if found else None


def decision_accuracy(decisions: Sequence[Decision | None], golds: Sequence[Decision]) -> float:
    """Compute the share, 0 to 1, of decisions equal to their gold decision; None is wrong.

    Raises ValueError if there are none, or not as many golds.
    """
    pairs = _pair(decisions, golds)
    return sum(decision == gold for decision, gold in pairs) / len(pairs)


def decision_macro_f1(decisions: Sequence[Decision | None], golds: Sequence[Decision]) -> float:
    """Compute the mean, 0 to 1, of the F1 of each class that occurs among decisions or golds.

    Macro-averaged F1 as in PubMedQA (Jin et al., EMNLP 2019): the mean of 2 TP / (2 TP + FP + FN). A decision
    that is None lowers the recall of its gold class and is no class itself. Raises ValueError if there are no
    decisions, or not as many golds.
    """
    pairs = _pair(decisions, golds)
    scores = []
    for name in DECISIONS:
        decided = sum(decision == name for decision, _ in pairs)
        expected = sum(gold == name for _, gold in pairs)
        if decided or expected:
            hits = sum(decision == gold == name for decision, gold in pairs)
            scores.append(2 * hits / (decided + expected))
    return sum(scores) / len(scores)


def _pair(
    decisions: Sequence[Decision | None], golds: Sequence[Decision]
) -> list[tuple[Decision | None, Decision]]:
    pairs = list(zip(decisions, golds, strict=True))
    if not pairs:
        raise ValueError("no decisions to score")
    return pairs
