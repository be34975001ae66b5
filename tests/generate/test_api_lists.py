"""API lists in, rows out: each answer is a call of the API that its oracle documents, over real HTTP."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.generate.pipeline import BuildResult, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.corpus import Corpus, collect_chunks
from tools.raft.models.endpoint import Endpoint
from tools.raft.text.api_calls import call_field, documents_api, judge_call, read_apis

TOPICS = ("otters", "herons", "badgers", "martens", "stoats", "ospreys")


def entry(number: int) -> dict[str, Any]:
    """Return an entry of a list in which every call has nine entries; APIBench has one with 220."""
    topic, place = TOPICS[number % 6], number * 7 + 100
    return {
        "domain": "Images",
        "api_name": f"bridge {place}, finder of {topic}",
        "api_call": f"torch.hub.load('owner/nets', 'net{number % 6}', pretrained=True)",
        "performance": {"dataset": f"river {place}", "accuracy": ""},
        "description": f"Finds {topic} in photos of bridge {place}. It was trained near pond {place + 1} in winter.",
        "example_code": ["model = load(1)", "print(model(photo))"],
    }


ENTRIES = [entry(number) for number in range(54)]


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    path = tmp_path / "nets.jsonl"
    path.write_text("\n".join(map(json.dumps, ENTRIES)), encoding="utf-8")
    return collect_chunks([path], chunk_size=512)


def build(corpus: Corpus, out: Path, faults: Mapping[str, float] | None = None) -> BuildResult:
    settings = DatasetSettings(questions=1, distractors=3, p=0.5, valid=0, test=0)
    with scripted_endpoint(faults=faults or {}) as endpoint:
        return build_dataset(corpus, Endpoint(base_url=endpoint.url, model="m"), out, settings)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_every_label_is_correct_for_the_strict_scorer_and_no_distractor_documents_it(
    corpus: Corpus, tmp_path: Path
) -> None:
    result = build(corpus, tmp_path / "out")
    assert result.counts.rows == 54
    assert not result.rejected
    apis = read_apis(entry["api_call"] for entry in ENTRIES)
    written = rows(tmp_path / "out" / "raft.jsonl")
    for row in written:
        call = call_field(row["oracle_context"])
        assert judge_call(row["final_answer"], call, apis) == "correct"
        others = [text for text in row["context"]["sentences"][0] if text != row["oracle_context"]]
        assert len(others) == (3 if row["has_oracle"] else 4)
        assert not any(documents_api(text, call) for text in others)
    assert {row["has_oracle"] for row in written} == {True, False}


def test_answers_that_do_not_end_in_the_call_are_refused_with_their_reason(
    corpus: Corpus, tmp_path: Path
) -> None:
    result = build(corpus, tmp_path / "out", {"no_call": 0.4, "other_call": 0.4})
    refused = rows(tmp_path / "out" / "rejected.jsonl")
    assert result.counts.rows + len(refused) == 54, "everything is accounted for"
    assert len(rows(tmp_path / "out" / "raft.jsonl")) == result.counts.rows
    counts = Counter(row["reason"] for row in refused)
    assert counts.keys() == {"no call in the answer", "answer calls another API"}
    assert result.counts.rows > 5, "a second answer is asked for"
    for row in refused:
        assert row["stage"] == "answer"
        assert ("other.load(" in row["cot_answer"]) == (row["reason"] == "answer calls another API")


def test_where_every_answer_is_refused_the_error_says_why(corpus: Corpus, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no row passed verification \(54 of 54: no call in the answer\)"):
        build(corpus, tmp_path / "out", {"no_call": 1.0})
