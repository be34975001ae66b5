"""Estimate whether the documents of a question hold an answer, with what was fitted for their index."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..choices import Mode
from .evidence import FEATURES, Evidence
from .index_store import Calibration

if TYPE_CHECKING:
    import numpy as np

    from .index import Hit, Index

log = logging.getLogger(__name__)


class Answerability:
    """Rates the documents of questions about an index by how probable an answer in them is."""

    def __init__(self, index: Index, calibration: Calibration, *, always_answer: bool = False) -> None:
        self._evidence = Evidence(index)
        self._calibration = calibration
        self.threshold = 0.0 if always_answer else calibration["threshold"]

    def rate(self, questions: Sequence[str], found: Sequence[Sequence[Hit]]) -> list[list[Hit]]:
        """Return the documents of each question with `evidence` and `needed`, the same for all of a question.

        `evidence` is the probability, 0 to 1, that together they hold an answer, `needed` the one below which
        the question is refused.
        """
        if not questions:
            return []
        ratings = apply(self._calibration, self._evidence.measure(questions, found)).tolist()
        return [
            [{**hit, "evidence": rating, "needed": self.threshold} for hit in hits]
            for rating, hits in zip(ratings, found, strict=True)
        ]


def explain_refusal(hits: Sequence[Hit]) -> str:
    """Return why a question with these documents is refused; an empty string if it is not."""
    for hit in hits:
        if (evidence := hit.get("evidence")) is not None and evidence < hit["needed"]:
            return (
                "the documents are unlikely to hold an answer: "
                f"probability {evidence:.2f}, below {hit['needed']:.2f}"
            )
    return ""


def check_evidence(hits: Sequence[Hit], *, always_answer: bool = False) -> dict[str, Any]:
    """Return `answerable`, the probability `evidence` of an answer, and in `refusal` why it is not.

    The search rates the documents if something was fitted for their index; without that, `evidence` is None
    and every question is answerable.
    """
    reason = "" if always_answer else explain_refusal(hits)
    evidence = hits[0].get("evidence") if hits else None
    return {"answerable": not reason, "evidence": evidence, "refusal": reason}


def open_answerability(
    index: Index, *, k: int | None = None, mode: Mode | None = None, always_answer: bool = False
) -> Answerability | None:
    """Return what was fitted for an index; None if nothing was, so that no question is refused.

    With `always_answer` documents are rated, but nothing is refused. Logs a warning if it was fitted for
    another search than the given one.
    """
    calibration = index.manifest.get("answerability")
    if calibration is None:
        return None
    fitted = calibration["k"], calibration["mode"]
    asked = k or fitted[0], mode or fitted[1]
    if fitted != asked:
        log.warning(
            "when to refuse was fitted for %d documents of %s search, not for %d of %s: run calibrate again",
            *fitted,
            *asked,
        )
    return Answerability(index, calibration, always_answer=always_answer)


def apply(calibration: Calibration, features: np.ndarray) -> np.ndarray:
    """Compute the probabilities of rows of features."""
    import numpy as np

    # What was not measured yet when an index was calibrated has no weight in it.
    weights = np.array([calibration["weights"].get(name, 0.0) for name in FEATURES])
    return 1 / (1 + np.exp(-(features @ weights + calibration["intercept"])))
