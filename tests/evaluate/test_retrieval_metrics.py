"""Metrics of a ranking: checked by hand on small cases, and against trec_eval on many."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tools.raft.evaluate.retrieval_metrics import (
    average_scores,
    ndcg_at,
    recall_at,
    reciprocal_rank,
    score_hits,
)


def hit(rank: int, id: str, source: str = "a.md", text: str = "") -> Any:
    return {
        "rank": rank,
        "score": 1 / rank,
        "id": id,
        "text": text,
        "title": "",
        "source": source,
        "page": None,
    }


def test_small_cases_computed_by_hand():
    ranking = ["a", "b", "c", "d"]
    assert recall_at(1, ranking, {"b", "z"}) == 0
    assert recall_at(2, ranking, {"b", "z"}) == 0.5
    assert reciprocal_rank(ranking, {"c", "d"}) == pytest.approx(1 / 3)
    assert reciprocal_rank(ranking, {"z"}) == 0
    assert ndcg_at(4, ranking, {"a"}) == 1
    assert ndcg_at(4, ranking, {"b"}) == pytest.approx(0.63093, abs=1e-5)
    assert ndcg_at(1, ranking, {"a", "b"}) == 1, "with a cutoff of 1, a relevant first hit is ideal"


def test_they_agree_with_trec_eval():
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = random.Random(1)
    ids = [f"d{number}" for number in range(60)]
    relevant = {f"q{n}": set(rng.sample(ids, rng.randint(1, 8))) for n in range(200)}
    rankings = {name: rng.sample(ids, rng.randint(1, 40)) for name in relevant}
    measures = {"recall.1,3,10", "recip_rank", "ndcg_cut.3,10"}
    reference = pytrec_eval.RelevanceEvaluator(
        {name: dict.fromkeys(wanted, 1) for name, wanted in relevant.items()}, measures
    ).evaluate({name: {id: -float(rank) for rank, id in enumerate(row)} for name, row in rankings.items()})
    for name, ranking in rankings.items():
        wanted = relevant[name]
        scores = {f"recall_{k}": recall_at(k, ranking, wanted) for k in (1, 3, 10)}
        scores |= {f"ndcg_cut_{k}": ndcg_at(k, ranking, wanted) for k in (3, 10)}
        scores["recip_rank"] = reciprocal_rank(ranking, wanted)
        assert scores == pytest.approx(reference[name])


def test_a_source_counts_once_however_many_of_its_chunks_are_found():
    hits = [hit(1, "x", "b.md"), hit(2, "y"), hit(3, "z")]
    scores = score_hits(hits, ["a.md"], 3)
    assert scores == {
        "recall_at_1": 0,
        "recall_at_3": 1,
        "mrr_at_3": 0.5,
        "ndcg_at_3": pytest.approx(0.63093, abs=1e-5),
    }
    assert score_hits(hits, ["z"], 3)["mrr_at_3"] == pytest.approx(1 / 3)


def test_any_entry_for_the_same_api_counts_once():
    texts = [
        "Name: other\nCall: hub.load('owner/other')",
        "Name: first\nCall: hub.load('owner/net', tags=['a'])",
        "Name: second\nCall: hub.load(handle='owner/net')",
        "A text that is no entry: hub.load('owner/net')",
    ]
    hits = [hit(rank, f"h{rank}", text=text) for rank, text in enumerate(texts, start=1)]
    scores = score_hits(hits, [], 3, "hub.load('owner/net')")
    assert scores == score_hits(hits, ["h2"], 3)
    assert scores["recall_at_1"] == 0
    assert scores["recall_at_3"] == 1
    assert score_hits(hits[3:], ["h4"], 3, "hub.load('owner/net')")["recall_at_3"] == 0


def test_recall_depths_end_at_k():
    assert [name for name in score_hits([hit(1, "x")], ["x"], 4) if "recall" in name] == [
        "recall_at_1",
        "recall_at_3",
        "recall_at_4",
    ]


def test_missing_and_unjudged_questions_are_counted():
    rows = [score_hits([hit(1, "x")], ["x"], 1), score_hits([], ["x"], 1), score_hits([hit(1, "x")], [], 1)]
    metrics = average_scores(rows, lines=5)
    assert metrics == {
        "recall_at_1": 0.5,
        "mrr_at_1": 0.5,
        "ndcg_at_1": 0.5,
        "questions": 2,
        "unjudged": 1,
        "missing": 2,
    }
    assert average_scores([], lines=3) == {"questions": 0, "unjudged": 0, "missing": 3}
