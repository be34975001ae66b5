"""The results of a comparison: every arm's answers and scores to the same questions, compared and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_json, write_jsonl
from .compare import compare_arms, slices_of
from .cost import ArmCost, BreakEven, break_even
from .metrics import Scores
from .report.examples import pick_examples, tabulate
from .report.html import write_report
from .score import Gold

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ComparisonResult:
    """Result of a comparison; `complete` is False if calls failed and answers are missing."""

    comparison: dict[str, Any]
    report: Path
    complete: bool
    # By role, what each of its endpoints did; empty for a comparison of runs.
    endpoints: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Results:
    """The answers and scores by arm, baseline first; all lists are in the order of the questions."""

    ids: Sequence[str]
    questions: Sequence[Row]
    golds: Sequence[Gold]
    answers: Mapping[str, Sequence[Row]]
    scores: Mapping[str, Sequence[Scores]]

    @property
    def baseline(self) -> str:
        """The name of the arm that the others are compared with."""
        return next(iter(self.answers))

    @property
    def errors(self) -> dict[str, int]:
        """The number of answers that are missing, by arm."""
        return {arm: sum(bool(row["error"]) for row in rows) for arm, rows in self.answers.items()}

    def compare(self, documents: Sequence[Sequence[Any]], seed: int) -> dict[str, Any]:
        """Compute means, paired differences and slices; `documents` are those of each question."""
        # Questions about the same document are not independent: they are resampled together.
        groups = [
            " ".join(sorted(gold.relevant)) or id for gold, id in zip(self.golds, self.ids, strict=True)
        ]
        return compare_arms(
            self.scores,
            baseline=self.baseline,
            slices=slices_of(self.questions, self.golds, documents),
            groups=groups,
            errors=self.errors,
            seed=seed,
        )

    def write(self, comparison: dict[str, Any], out: Path) -> Path:
        """Write scores.jsonl, comparison.json and the report; return the report's path."""
        rows = [
            {"id": id, "arm": arm, "question": row["question"], **scored}
            for arm, arm_scores in self.scores.items()
            for id, row, scored in zip(self.ids, self.questions, arm_scores, strict=True)
        ]
        write_jsonl(out / "scores.jsonl", rows)
        columns = (self.ids, self.questions, self.golds, self.answers, self.scores)
        examples = pick_examples(*columns, baseline=self.baseline)
        write_json(out / "comparison.json", {**comparison, "cases": examples}, indent=1)
        return write_report(comparison, examples, tabulate(*columns, baseline=self.baseline), out)


def recover_costs(
    costs: Mapping[str, ArmCost],
    trained: Sequence[str],
    *,
    dataset: float | None,
    training: float | None,
    elsewhere: Sequence[str] = (),
) -> dict[str, BreakEven]:
    """Compute when each trained arm has paid for itself, against the first arm.

    dataset, training: their cost in dollars. elsewhere: arms trained on other documents, at no cost here.
    """
    baseline = costs[next(iter(costs))]
    return {
        arm: break_even(
            baseline,
            costs[arm],
            dataset=None if arm in elsewhere else dataset,
            training=None if arm in elsewhere else training,
        )
        for arm in trained
    }


def warn_of_seen(count: int | None, total: int) -> list[str]:
    """Return the warning that questions stand in the training rows, if `count` of them do."""
    if not count:
        return []
    return [f"{count} of the {total} questions stand in the training rows: keep them out of one of the two"]
