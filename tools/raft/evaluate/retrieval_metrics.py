"""Score rankings against the relevant documents: recall@k, reciprocal rank, nDCG."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from ..text.api_calls import documents_api

if TYPE_CHECKING:
    from ..rag.index import Hit

DEPTHS = (1, 3, 5, 10)


def recall_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Compute recall@k, the share of the relevant ids among the first k.

    Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.3 (recall)
    with the cutoff of section 8.4. `relevant` must not be empty.
    """
    wanted = set(relevant)
    return len(wanted.intersection(ranking[:k])) / len(wanted)


def reciprocal_rank(ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Compute 1 / rank of the first relevant id, 0 if there is none; its mean over questions is MRR.

    Voorhees, "The TREC-8 Question Answering Track Report", 1999.
    """
    return next((1 / rank for rank, id in enumerate(ranking, start=1) if id in relevant), 0.0)


def ndcg_at(k: int, ranking: Sequence[str], relevant: Collection[str]) -> float:
    """Compute nDCG@k: the discounted cumulative gain of the first k over the ideal one, with binary gains.

    Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20(4), 2002,
    with the discount 1 / log2(rank + 1) of Burges et al., ICML 2005. `relevant` must not be empty.
    """
    wanted = set(relevant)
    best = sum(_discount(rank) for rank in range(1, min(k, len(wanted)) + 1))
    gain = 0.0
    for rank, id in enumerate(ranking[:k], start=1):
        if id in wanted:  # an id that is repeated counts once
            gain += _discount(rank)
            wanted.remove(id)
    return gain / best


def _discount(rank: int) -> float:
    return 1 / math.log2(rank + 1)


def score_hits(
    hits: Sequence[Hit], relevant: Collection[str], k: int, api_call: str = ""
) -> dict[str, float]:
    """Score one question's hits: recall at the standard depths up to k, MRR@k and nDCG@k.

    Named `recall_at_3`, since MLflow and Azure ML refuse a metric named recall@3.
    `relevant` holds ids of chunks, or sources if any chunk of a document counts. With `api_call`, any entry
    of an API list that documents this API counts instead: lists have several entries for one. Empty if
    nothing is relevant: such a question cannot be scored.
    """
    if api_call:
        relevant = {api_call}
        ranking = [api_call if documents_api(hit["text"], api_call) else hit["id"] for hit in hits[:k]]
    else:
        ranking = [hit["id"] if hit["id"] in relevant else hit["source"] for hit in hits[:k]]
    if not relevant:
        return {}
    depths = [depth for depth in (*DEPTHS, k) if depth <= k]
    scores = {f"recall_at_{depth}": recall_at(depth, ranking, relevant) for depth in depths}
    scores[f"mrr_at_{k}"] = reciprocal_rank(ranking, relevant)
    scores[f"ndcg_at_{k}"] = ndcg_at(k, ranking, relevant)
    return scores


def average_scores(scores: Sequence[Mapping[str, float]], lines: int = 0) -> dict[str, float]:
    """Average the scores of many questions, and count the questions without scores.

    `lines` is the number of questions asked, if known; those that failed are not in `scores` and count as
    `missing`. Empty scores, of questions with nothing relevant, count as `unjudged`.
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
