"""Retrieval over the API lists of APIBench, by call and by record: the figures in docs/retrieve.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.raft.choices import Mode
from tools.raft.evaluate.retrieval_metrics import average_scores, score_hits
from tools.raft.files import PROJECT
from tools.raft.ingest.corpus import collect_chunks
from tools.raft.models.embed import Embedder
from tools.raft.rag.build_index import build_index
from tools.raft.rag.index import open_index
from tools.raft.rag.search import Retriever
from tools.raft.text.api_calls import documents_api

QA = PROJECT.parent / "shared" / "qa"
pytestmark = pytest.mark.skipif(not QA.is_dir(), reason="needs ../shared/qa")

NAMES = ("recall_at_1", "recall_at_3", "recall_at_5", "recall_at_10", "mrr_at_10")
# By call: lexical, dense, fused; then fused by record, for comparison.
FIGURES = {
    "torchhub": (
        (0.129, 0.242, 0.290, 0.333, 0.197),
        (0.108, 0.220, 0.290, 0.376, 0.185),
        (0.140, 0.280, 0.328, 0.382, 0.220),
        (0.140, 0.280, 0.328, 0.382, 0.220),
    ),
    "tensorflowhub": (
        (0.273, 0.473, 0.558, 0.667, 0.394),
        (0.441, 0.561, 0.615, 0.677, 0.516),
        (0.467, 0.585, 0.644, 0.691, 0.539),
        (0.019, 0.031, 0.053, 0.088, 0.033),
    ),
    "huggingface": (
        (0.135, 0.219, 0.260, 0.333, 0.190),
        (0.162, 0.281, 0.340, 0.431, 0.239),
        (0.174, 0.292, 0.350, 0.448, 0.252),
        (0.148, 0.270, 0.334, 0.436, 0.230),
    ),
}
MODES: tuple[Mode, ...] = ("lexical", "dense", "fused")


def api_list(hub: str) -> Path:
    return QA / f"apibench_{hub}_api.jsonl"


def questions(hub: str) -> list[dict[str, Any]]:
    path = QA / f"apibench_{hub}_questions.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scores(rows: list[dict[str, Any]], found: list[list[Any]], *, by_record: str = "") -> list[float]:
    """Average the scores of the hits by call, or by record, whose source is `by_record` and its number."""
    each = []
    for row, hits in zip(rows, found, strict=True):
        if by_record:
            each.append(score_hits(hits, [f"{by_record}#{row['gold_api_index'] + 1}"], 10))
        else:
            each.append(score_hits(hits, [], 10, row["gold_api_call"]))
    metrics = average_scores(each)
    assert metrics["questions"] == len(rows)
    return [metrics[name] for name in NAMES]


def test_lexical_retrieval_over_torch_hub() -> None:
    chunks, rows = list(collect_chunks([api_list("torchhub")], chunk_size=512).chunks), questions("torchhub")
    ranked = Retriever(chunks, "lexical").search([row["question_clean"] for row in rows], 10)
    found = [[chunks[position] for position in ranking] for ranking in ranked]
    assert scores(rows, found) == pytest.approx(FIGURES["torchhub"][0], abs=0.001)


@pytest.mark.parametrize(
    ("hub", "bm25", "gpt_index"),
    [("torchhub", 14, 17), ("tensorflowhub", 152, 271), ("huggingface", 58, 156)],
)
def test_the_one_document_of_each_published_retriever(hub: str, bm25: int, gpt_index: int) -> None:
    calls = [json.loads(line)["api_call"] for line in api_list(hub).read_text(encoding="utf-8").splitlines()]
    for name, expected in (("bm25", bm25), ("gpt_index", gpt_index)):
        right = [
            documents_api(
                f"Call: {row.get(f'{name}_api_call', calls[row[name]])}",
                row["gold_api_call"],
            )
            for row in questions(hub)
        ]
        assert sum(right) == expected


@pytest.mark.slow
@pytest.mark.parametrize("hub", FIGURES)
def test_retrieval_over_every_list(hub: str, tmp_path: Path) -> None:
    build_index(collect_chunks([api_list(hub)], chunk_size=512).chunks, tmp_path, Embedder())
    index, rows = open_index(tmp_path), questions(hub)
    queries = [row["question_clean"] for row in rows]
    for mode, expected in zip(MODES, FIGURES[hub], strict=False):
        found = index.search(queries, 10, mode)
        assert scores(rows, found) == pytest.approx(expected, abs=0.003)
    assert scores(rows, found, by_record=api_list(hub).name) == pytest.approx(FIGURES[hub][-1], abs=0.003)
