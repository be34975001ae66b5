"""Rejected answers to a question that got an accepted one in the end are kept, at no other cost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import corpus
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.dataset.pairs import NOT_SHOWN, sum_pairs
from tools.raft.generate.given_questions import GivenQuestion
from tools.raft.generate.pipeline import BuildResult, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.generate.summarise import summarise
from tools.raft.ingest.corpus import Corpus
from tools.raft.models.endpoint import Endpoint

CHUNKS = corpus(40)


def build(
    url: str, out: Path, *, given: tuple[GivenQuestion, ...] = (), **settings: Any
) -> tuple[BuildResult, dict[str, Any]]:
    corpus_, model = Corpus(chunks=list(CHUNKS), documents=5), Endpoint(base_url=url, model="m")
    options = DatasetSettings(**{"questions": 3, **settings})
    result = build_dataset(corpus_, model, out, options, given=given)
    return result, summarise(result, corpus_, [model], out, options, prices={})


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("hops", [1, 2])
def test_an_answer_whose_second_try_was_accepted_makes_a_pair(hops: int, tmp_path: Path) -> None:
    with scripted_endpoint(faults={"untagged": 0.3, "truncated": 0.1}) as endpoint:
        build(endpoint.url, tmp_path / "chat", hops=hops)
        calls = endpoint.stats()["calls"]
    with scripted_endpoint(faults={"untagged": 0.3, "truncated": 0.1}) as endpoint:
        result, manifest = build(endpoint.url, tmp_path / "dpo", hops=hops, formats=("chat", "dpo"))
        assert endpoint.stats()["calls"] == calls, "nothing more is asked"
    for path in (tmp_path / "chat").glob("*.jsonl"):
        assert path.read_bytes() == (tmp_path / "dpo" / path.name).read_bytes()
    records = {row["id"]: row for row in rows(tmp_path / "dpo" / "raft.jsonl")}
    rejected = rows(tmp_path / "dpo" / "rejected_answers.jsonl")
    assert len(rejected) > 10
    for row in rejected:
        record = records[row["id"]]
        assert (row["question"], row["chunk_id"]) == (record["question"], record["chunk_id"])
        for answer in row["answers"]:
            assert answer["reason"] in ("no <ANSWER> tag", "truncated answer")
            assert answer["cot_answer"] != record["cot_answer"]
    untagged = [row for row in rejected if row["answers"][0]["reason"] == "no <ANSWER> tag"]
    pairs = [row for row in untagged if records[row["id"]]["has_oracle"]]
    counts = sum_pairs(manifest["files"])
    assert counts["pairs"] == {"no <ANSWER> tag": len(pairs)}
    assert manifest["counts"]["preference_pairs"] == len(pairs) > 0
    assert counts["without"].total() == result.counts.rows - len(pairs)
    assert "rejected_answers.jsonl" in manifest["files"]


def test_without_a_rejected_answer_there_is_no_file_of_them(tmp_path: Path) -> None:
    with scripted_endpoint(faults={"untagged": 0.3}) as endpoint:
        build(endpoint.url, tmp_path)
        assert (tmp_path / "rejected_answers.jsonl").exists()
    shutil.rmtree(tmp_path / ".cache")
    with scripted_endpoint() as endpoint:
        _, manifest = build(endpoint.url, tmp_path)
    assert not (tmp_path / "rejected_answers.jsonl").exists(), "those of an earlier run do not stay"
    assert "preference_pairs" not in manifest["counts"]


def test_the_answer_in_whose_place_a_refusal_stands_is_kept(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        result, manifest = build(
            endpoint.url, tmp_path, p=0.6, no_oracle="refuse", formats=("chat", "dpo"), drills=1
        )
    records = {row["id"]: row for row in rows(tmp_path / "raft.jsonl")}
    refused = [row for row in records.values() if not row["has_oracle"] and row["origin"] != "drill"]
    rejected = rows(tmp_path / "rejected_answers.jsonl")
    assert [row["id"] for row in rejected] == [row["id"] for row in refused] != []
    assert {answer["reason"] for row in rejected for answer in row["answers"]} == {NOT_SHOWN}
    counts = sum_pairs(manifest["files"])
    assert counts["pairs"][NOT_SHOWN] == len(refused) and not counts["without"]
    assert counts["pairs"].total() == result.counts.rows - result.counts.accepted["drills"]
    assert not list(tmp_path.glob("drills.dpo*"))


def test_answers_from_earlier_candidate_chunks_are_kept(tmp_path: Path) -> None:
    given = tuple(
        GivenQuestion(
            question=f"Who writes every sighting near bridge {number} into a book?",
            answers=[],
            answerable=True,
            relevant=[],
            chunk_id="",
        )
        for number in range(16)
    )
    with scripted_endpoint(faults={"untagged": 0.5}) as endpoint:
        build(endpoint.url, tmp_path, given=given, questions=1, formats=("chat", "dpo"))
    accepted = {row["id"] for row in rows(tmp_path / "raft.jsonl") if row["origin"] == "given"}
    kept = [row for row in rows(tmp_path / "rejected_answers.jsonl") if row["id"] in accepted]
    assert {len(row["answers"]) for row in kept} & {2, 3, 4}, "two tries of a chunk, or of several"
    assert not [row for row in kept for answer in row["answers"] if not answer["cot_answer"]]
