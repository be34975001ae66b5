"""Measure rankings against what is relevant: recall, reciprocal rank, discounted gain."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence


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
    gain = sum(1 / math.log2(rank + 1) for rank, id in enumerate(ranking[:k], start=1) if id in wanted)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(wanted)) + 1))
    return gain / best
