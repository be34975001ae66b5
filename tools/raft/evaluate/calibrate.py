"""Fit for an index when to refuse, on questions with known sources: with their oracle, and without it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import Mode
from ..errors import UserError
from ..rag.evidence import FEATURES, Evidence
from ..rag.follow_up import resolve_question
from ..rag.index_store import Calibration, Point
from ..records import content_id
from .arms import find_documents, without_oracle
from .score import Gold, from_oracle, read_gold

if TYPE_CHECKING:
    import numpy as np

    from ..rag.index import Hit, Index

FOLDS = 10
FEWEST = 15  # questions of either kind
_POINTS = 50  # of the curve
_DEPTH = 32  # hits retrieved, so that enough remain without the oracle

Row = dict[str, Any]


def calibrate(
    index: Index,
    questions: Sequence[Row],
    *,
    k: int,
    mode: Mode,
    at_most: float,
    name: str = "",
    on_done: Callable[[int], None] = lambda n: None,
) -> Calibration:
    """Fit a logistic model of the evidence and the threshold that refuses at most this share wrongly.

    A question counts as answerable with its k documents if they hold all that is relevant to it, and as
    unanswerable with the k documents that are left without those, or if it has no answer at all. With some
    of what is relevant it counts as neither; a question that is given twice counts once. Raises UserError if
    either kind is too rare.
    """
    questions = list({str(row["question"]): row for row in questions}.values())
    golds = [read_gold(row) for row in questions]
    hits = find_documents(questions, index, max(k, _DEPTH), mode, on_done)
    texts, documents, labels, groups = [], [], [], []
    for row, gold, found in zip(questions, golds, hits, strict=True):
        for label, shown in _cases(gold, found, k):
            texts.append(resolve_question(str(row["question"]), row.get("chat_history") or ()).query)
            documents.append(shown)
            labels.append(label)
            groups.append(" ".join(sorted(gold.relevant)) or str(row["question"]))
    for label, kind in ((True, "answerable"), (False, "unanswerable")):
        if labels.count(label) < FEWEST:
            raise UserError(
                f"{labels.count(label)} {kind} questions, {FEWEST} are needed: give more questions with the "
                "source, chunk_id or relevant documents of each"
            )
    features = Evidence(index).measure(texts, documents)
    return fit(features, labels, groups, at_most=at_most, name=name, k=k, mode=mode)


def _cases(gold: Gold, found: Sequence[Hit], k: int) -> list[tuple[bool, Sequence[Hit]]]:
    """Return the documents to learn from, and whether the question can be answered with them."""
    if gold.answers == ():
        return [(False, found[:k])]
    if not gold.relevant:
        return []
    cases: list[tuple[bool, Sequence[Hit]]] = []
    shown = found[:k]
    names = {name for hit in shown for name in (hit["id"], hit["source"])}
    if gold.relevant <= names:
        cases.append((True, shown))
    elif shown and not any(from_oracle(hit, gold) for hit in shown):
        cases.append((False, shown))
    if left := without_oracle(found, gold, k):
        cases.append((False, left))
    return cases


def fit(
    features: np.ndarray,
    labels: Sequence[bool],
    groups: Sequence[str],
    *,
    at_most: float,
    name: str = "",
    k: int = 0,
    mode: Mode = "fused",
) -> Calibration:
    """Fit the model to all rows; choose the threshold by what models fitted without a group's rows say.

    features: (rows, FEATURES). groups: rows of one group, those about the same documents, are in one fold.
    """
    import numpy as np
    from sklearn.metrics import roc_auc_score

    answerable = np.array(labels)
    folds = np.array([int(content_id("fold", group), 16) % FOLDS for group in groups])
    scores = np.full(len(answerable), 0.5)
    for fold in np.unique(folds):
        others = folds != fold
        if len(np.unique(answerable[others])) == 2:
            weights, intercept = _fit(features[others], answerable[others])
            scores[~others] = 1 / (1 + np.exp(-(features[~others] @ weights + intercept)))
    weights, intercept = _fit(features, answerable)
    accepted, refused = np.sort(scores[answerable]), np.sort(scores[~answerable])

    def at(threshold: float) -> Point:
        return {
            "threshold": float(threshold),
            "refused_wrongly": float(np.searchsorted(accepted, threshold) / len(accepted)),
            "refused_rightly": float(np.searchsorted(refused, threshold) / len(refused)),
        }

    chosen = at(accepted[min(int(at_most * len(accepted)), len(accepted) - 1)])
    return {
        "weights": dict(zip(FEATURES, weights.tolist(), strict=True)),
        "intercept": float(intercept),
        **chosen,
        "at_most": at_most,
        "answerable": len(accepted),
        "unanswerable": len(refused),
        "auroc": float(roc_auc_score(answerable, scores)),
        "curve": [at(threshold) for threshold in np.quantile(scores, np.linspace(0, 1, _POINTS))],
        "questions": name,
        "k": k,
        "mode": mode,
    }


def _fit(features: np.ndarray, answerable: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the weights and the intercept of a logistic regression, for features as they are measured."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    # Both kinds count alike, however many there are of each.
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    model.fit((features - centre) / scale, answerable)
    weights = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - weights @ centre)


def trade_offs(calibration: Calibration) -> list[Point]:
    """Return about ten points of the curve that differ, from refusing little to refusing much."""
    points = [point for point in calibration["curve"] if 0 < point["refused_rightly"] < 1]
    return points[:: max(1, len(points) // 10)]


def describe(calibration: Calibration, folder: Path) -> str:
    """Say in one line what was fitted."""
    wrongly, rightly = calibration["refused_wrongly"], calibration["refused_rightly"]
    return (
        f"Threshold {calibration['threshold']:.2f} in {folder}: refuses {rightly:.0%} of "
        f"{calibration['unanswerable']} unanswerable questions and {wrongly:.1%} of "
        f"{calibration['answerable']} answerable ones (cross-validated, AUROC {calibration['auroc']:.3f})"
    )
