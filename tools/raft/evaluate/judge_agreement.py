"""Measure how well a judge agrees with human labels, and its bias towards length or position."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..files import PROJECT, read_jsonl
from ..models.client import Client
from .bootstrap import mean_intervals
from .judge import Verdict, judge_answers
from .metrics import JUDGEMENTS
from .score import Gold

if TYPE_CHECKING:
    import numpy as np

PAIRS = PROJECT / "data" / "judge" / "pairs.jsonl"
Pair = dict[str, Any]


def read_pairs(path: Path = PAIRS) -> list[Pair]:
    """Read labelled answers: `id, question, gold, documents, answer, labels` and optionally `short`.

    `labels` holds 1 to 5 by judgement; `short` is the id of the pair whose answer says the same in fewer
    words. Raises UserError with the number of the first invalid line.
    """
    pairs: list[Pair] = []
    want = "want id, question, gold, answer, documents and labels from 1 to 5"
    for number, pair in read_jsonl(path, want=want):
        try:
            valid = (
                all(isinstance(pair[name], str) for name in ("id", "question", "gold", "answer"))
                and all(isinstance(text, str) for text in pair["documents"])
                and pair["labels"].items()
                and all(name in JUDGEMENTS and label in range(1, 6) for name, label in pair["labels"].items())
            )
        except (KeyError, TypeError, AttributeError):
            valid = False
        if not valid:
            raise UserError(f"{path}, line {number}: {want}")
        pairs.append(pair)
    known = {pair["id"] for pair in pairs}
    if len(known) < len(pairs) or any(pair.get("short", pair["id"]) not in known for pair in pairs):
        raise UserError(f"{path}: an id is used twice, or `short` is not the id of any answer")
    return pairs


async def judge_pairs(
    pairs: Sequence[Pair], client: Client, on_verdict: Callable[[], None] = lambda: None
) -> tuple[list[dict[str, Verdict]], list[dict[str, Verdict]]]:
    """Judge all pairs, and groundedness a second time with the document order reversed."""

    def answer_row(pair: Pair, reverse: bool = False) -> dict[str, Any]:
        documents = [{"text": text} for text in pair["documents"]]
        return {
            "question": pair["question"],
            "answer": pair["answer"],
            "reasoning": "",
            "error": "",
            "documents": documents[::-1] if reverse else documents,
        }

    golds = [Gold((pair["gold"],)) if pair["gold"] else Gold() for pair in pairs]
    verdicts = await judge_answers([answer_row(pair) for pair in pairs], golds, client, on_verdict=on_verdict)
    # Without documents groundedness does not apply, so pairs with a single one are not judged again.
    reversible = [pair if len(pair["documents"]) > 1 else {**pair, "documents": []} for pair in pairs]
    reversed_verdicts = await judge_answers(
        [answer_row(pair, reverse=True) for pair in reversible],
        golds,
        client,
        names=["groundedness"],
        on_verdict=on_verdict,
    )
    return verdicts, reversed_verdicts


def measure_agreement(
    pairs: Sequence[Pair],
    verdicts: Sequence[Mapping[str, Verdict]],
    reversed_verdicts: Sequence[Mapping[str, Verdict]],
    *,
    seed: int = 42,
) -> dict[str, Any]:
    """Measure a judge against the labels.

    For each judgement: n, missing (no readable score), exact (share equal, with its interval), within_one,
    error (mean of judge minus label), correlation (Spearman's), kappa (Cohen's, squared weights).
    `length` is how much higher it scores the longer of two answers that say the same, beyond the difference
    of their labels; `position` how much higher groundedness is with the document order reversed, and `moved`
    the share of answers for which it changes.
    """
    judgements: dict[str, dict[str, Any]] = {}
    for name in JUDGEMENTS:
        labelled = [
            (pair["labels"][name], by_name.get(name))
            for pair, by_name in zip(pairs, verdicts, strict=True)
            if name in pair["labels"]
        ]
        if not labelled:
            continue
        scored = [
            (label, verdict.score) for label, verdict in labelled if verdict and verdict.score is not None
        ]
        judgements[name] = {"n": len(scored), "missing": len(labelled) - len(scored)}
        if scored:
            judgements[name] |= _agreement(
                [label for label, _ in scored], [score for _, score in scored], seed
            )
    index = {pair["id"]: i for i, pair in enumerate(pairs)}
    length = []
    for i, pair in enumerate(pairs):
        short = index.get(pair.get("short", ""))
        for name, label in pair["labels"].items() if short is not None else ():
            long_score, short_score = _score(verdicts[i], name), _score(verdicts[short or 0], name)
            if long_score is not None and short_score is not None and name in pairs[short or 0]["labels"]:
                length.append(float(long_score - short_score - (label - pairs[short or 0]["labels"][name])))
    position = [
        float(after - before)
        for first, second in zip(verdicts, reversed_verdicts, strict=True)
        if (before := _score(first, "groundedness")) is not None
        and (after := _score(second, "groundedness")) is not None
    ]
    return {
        "judgements": judgements,
        "length": _mean(length, seed),
        "position": _mean(position, seed),
        "moved": _mean([float(bool(change)) for change in position], seed),
    }


def _agreement(labels: Sequence[int], scores: Sequence[int], seed: int) -> dict[str, Any]:
    import numpy as np

    label, score = np.array(labels, dtype=float), np.array(scores, dtype=float)
    return {
        "exact": _mean((label == score).astype(float).tolist(), seed),
        "within_one": float((np.abs(label - score) <= 1).mean()),
        "error": float((score - label).mean()),
        "correlation": spearman(label, score),
        "kappa": weighted_kappa(label, score),
    }


def spearman(first: np.ndarray, second: np.ndarray) -> float | None:
    """Compute Spearman's rank correlation, with mean ranks for ties; None if either input is constant."""
    import numpy as np

    def ranks(values: np.ndarray) -> np.ndarray:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        ends = np.cumsum(counts)
        return (ends - (counts - 1) / 2)[inverse]

    a, b = ranks(first), ranks(second)
    if len(set(a.tolist())) < 2 or len(set(b.tolist())) < 2:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def weighted_kappa(first: np.ndarray, second: np.ndarray) -> float | None:
    """Compute Cohen's kappa with squared weights (Cohen 1968): 1 is agreement, 0 is chance level."""
    expected = ((first[:, None] - second[None, :]) ** 2).mean()
    if not expected:
        return None
    return float(1 - ((first - second) ** 2).mean() / expected)


def _score(verdicts: Mapping[str, Verdict], name: str) -> int | None:
    return verdicts[name].score if name in verdicts else None


def _mean(values: Sequence[float], seed: int) -> dict[str, Any]:
    import numpy as np

    (mean,) = mean_intervals(np.array(values, dtype=float).reshape(-1, 1), seed=seed)
    return {name: mean[name] for name in ("n", "mean", "low", "high")}
