"""Measure rankings against what is relevant: recall, reciprocal rank, discounted gain."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..rag.index import Hit

DEPTHS = (1, 3, 5, 10)


def recall_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Give the share of the relevant that stands among the first k.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3 (recall)
    with the cut-off of 8.4. `relevant` must not be empty.
    """
    wanted = set(relevant)
    return len(wanted.intersection(ranking[:k])) / len(wanted)


def reciprocal_rank(ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Give 1 / rank of the first relevant, 0 where none was found; its mean over questions is MRR.

    Voorhees, "The TREC-8 Question Answering Track Report", 1999.
    """
    return next((1 / rank for rank, id in enumerate(ranking, start=1) if id in relevant), 0.0)


def ndcg_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Give the discounted cumulative gain of the first k over that of the best order, gains being 0 or 1.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002,
    with the discount 1 / log2(rank + 1) of Burges et al., ICML 2005. `relevant` must not be empty.
    """
    wanted = set(relevant)
    best = sum(_discount(rank) for rank in range(1, min(k, len(wanted)) + 1))
    gain = 0.0
    for rank, id in enumerate(ranking[:k], start=1):
        if id in wanted:  # what comes again is no news
            gain += _discount(rank)
            wanted.remove(id)
    return gain / best


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def score_hits(hits: Sequence[Hit], relevant: Collection[str], k: int) -> dict[str, float]:
    """Score one question's hits: recall at the usual depths up to k, reciprocal rank and nDCG of the first k.

    `relevant` holds ids of chunks, or sources where any chunk of a document will do. Empty where
    nothing is relevant: such a question cannot be scored.
    """
    if not relevant:
        return {}
    ranking = [hit["id"] if hit["id"] in relevant else hit["source"] for hit in hits[:k]]
    scores = {f"recall@{depth}": recall_at(depth, ranking, relevant) for depth in (*DEPTHS, k) if depth <= k}
    scores[f"mrr@{k}"] = reciprocal_rank(ranking, relevant)
    scores[f"ndcg@{k}"] = ndcg_at(k, ranking, relevant)
    return scores


def average_scores(scores: Sequence[Mapping[str, float]], lines: int = 0) -> dict[str, float]:
    """Average the scores of many questions, and count those that are not among them.

    `lines` is how many questions were asked, where known: those that failed are not in `scores`.
    Questions with nothing relevant come empty, and count as `unjudged`.
    """
    judged = [row for row in scores if row]
    names = dict.fromkeys(name for row in judged for name in row)
    metrics: dict[str, float] = {name: sum(row[name] for row in judged) / len(judged) for name in names}
    return {
        **metrics,
        "questions": len(judged),
        "unjudged": len(scores) - len(judged),
        "missing": max(0, lines - len(scores)),
    }
