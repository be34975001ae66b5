"""Read the cost and the questions of the dataset that a model was tuned on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_jsonl
from ..text.normalise import normalise


@dataclass(frozen=True)
class TrainedOn:
    """A dataset that models were tuned on; None means unknown."""

    dollars: float | None = None
    questions: frozenset[str] | None = None  # of its training rows, normalised

    def count(self, questions: Sequence[Mapping[str, Any]]) -> int | None:
        """Count the questions that are in the training rows verbatim; None if those are unknown."""
        if self.questions is None:
            return None
        return sum(normalise(str(row["question"])) in self.questions for row in questions)


def read_trained_on(folder: Path | None) -> TrainedOn:
    """Read a dataset's cost from its manifest, and its training questions from train.jsonl.

    Without a folder nothing is known. Raises UserError if the training rows are missing or a file cannot be
    read.
    """
    if folder is None:
        return TrainedOn()
    manifest, train = folder / "manifest.json", folder / "train.jsonl"
    try:
        cost = (
            json.loads(manifest.read_text(encoding="utf-8-sig"))["cost_dollars"]
            if manifest.exists()
            else None
        )
        questions = frozenset(normalise(row["question"]) for _, row in read_jsonl(train))
    except (UserError, OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder} is not a dataset: pass a folder that `generate` wrote, with train.jsonl"
        ) from None
    return TrainedOn(None if cost is None else float(cost), questions)
