"""Questions about two documents, against a scripted HTTP endpoint: only what needs both gets in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import corpus
from tests.generate.test_shards import in_threads
from tests.scripted_endpoint import Scripted, scripted_endpoint
from tools.raft.dataset.validate import validate_files
from tools.raft.errors import UserError
from tools.raft.generate.draft_several import ONE_IS_ENOUGH, is_enough
from tools.raft.generate.pipeline import BuildResult, assemble_dataset, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.generate.summarise import summarise
from tools.raft.ingest.corpus import Corpus
from tools.raft.models.endpoint import TEACHER_MODEL, Endpoint
from tools.raft.raft_format import QUOTE

CHUNKS = corpus(40)
FILES = ("raft.jsonl", "train.jsonl", "valid.jsonl", "test.jsonl", "rejected.jsonl", "train.chat.jsonl")


def build(endpoint: Scripted, out: Path, *, workers: int = 32, on_progress: Any = None, engine: Any = None, **settings: Any) -> BuildResult:  # fmt: skip
    settings = {"questions": 2, "hops": 2, **settings}
    model = Endpoint(base_url=endpoint.url, model="m")
    corpus_ = Corpus(chunks=list(CHUNKS), documents=5)
    more = {"on_progress": on_progress} if on_progress else {}
    options = DatasetSettings(**settings)
    result = build_dataset(corpus_, model, out, options, workers=workers, engine=engine, **more)
    summarise(result, corpus_, [model], out, options, prices={})
    return result


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_pairs_become_rows_that_quote_both_documents(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        result = build(endpoint, tmp_path, distractors=4)
        stats = endpoint.stats()
    texts = {chunk["id"]: chunk["text"] for chunk in CHUNKS}
    pairs = [row for row in rows(tmp_path / "raft.jsonl") if "oracle_ids" in row]
    assert len(pairs) == result.counts.several >= 40
    for row in pairs:
        own = [texts[id] for id in row["oracle_ids"]]
        quotes = QUOTE.findall(row["cot_answer"])
        assert all(any(quote in text for quote in quotes) for text in own)
        assert row["origin"] == "generated" and len(row["context"]["sentences"][0]) == 5
    assert not [finding for finding in validate_files(tmp_path) if finding.severity == "error"]
    # A question prompt for each chunk and pair, an answer for each question, and two more for those of pairs.
    linked = {tuple(sorted(row["oracle_ids"])) for row in pairs}
    assert stats["calls"] >= 40 * 3 + len(linked) * (1 + 2 * 3)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["settings"]["hops"] == 2
    assert {"ask_questions_of_two.jinja2", "answer_question_of_several.jinja2"} <= manifest[
        "prompt_hashes"
    ].keys()


def test_one_hop_rows_and_manifests_are_unchanged(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        build(endpoint, tmp_path / "one", hops=1)
        build(endpoint, tmp_path / "two", valid=0, test=0)
        build(endpoint, tmp_path / "train", hops=1, valid=0, test=0)
    manifest = json.loads((tmp_path / "one" / "manifest.json").read_text(encoding="utf-8"))
    assert "hops" not in manifest["settings"] and "rows_with_several_oracles" not in manifest["counts"]
    two = (tmp_path / "two" / "raft.jsonl").read_bytes()
    assert two.startswith((tmp_path / "train" / "raft.jsonl").read_bytes()), "pairs come after the others"


def test_what_one_document_answers_is_rejected(tmp_path: Path) -> None:
    with scripted_endpoint(alone=0.5) as endpoint:
        result = build(endpoint, tmp_path)
    rejected = [row for row in rows(tmp_path / "rejected.jsonl") if row["reason"] == ONE_IS_ENOUGH]
    assert len(rejected) == result.rejected[ONE_IS_ENOUGH] > 10
    assert all(len(row["oracle_ids"]) == 2 and row["cot_answer"] for row in rejected)
    kept = {row["question"] for row in rows(tmp_path / "raft.jsonl")}
    assert result.counts.several > 10 and not kept & {row["question"] for row in rejected}


def test_an_answer_that_quotes_one_document_is_rejected(tmp_path: Path) -> None:
    with scripted_endpoint(one_quote=0.4) as endpoint:
        result = build(endpoint, tmp_path)
    assert result.rejected["no quote from one of its documents"] > 10
    assert result.counts.several > 10


def test_everything_that_was_asked_for_is_accounted_for(tmp_path: Path) -> None:
    faults = {"500": 0.05, "429": 0.03, "malformed": 0.02, "truncated": 0.03, "untagged": 0.03}
    with scripted_endpoint(faults=faults, retry_after=0.1, alone=0.2, one_quote=0.2) as endpoint:
        result = build(endpoint, tmp_path)
    written = rows(tmp_path / "raft.jsonl")
    rejected = rows(tmp_path / "rejected.jsonl")
    one = sum("oracle_ids" not in row for row in written)
    one += sum(row["count"] for row in rejected if "oracle_ids" not in row)
    assert one == 2 * 40
    pairs = sum("oracle_ids" in row for row in written)
    pairs += sum(row["count"] for row in rejected if "oracle_ids" in row)
    assert pairs % 2 == 0 and 40 <= pairs <= 80 and result.counts.missing == 0


def test_the_dataset_does_not_depend_on_concurrency(tmp_path: Path) -> None:
    with scripted_endpoint(latency=0.005, alone=0.2, one_quote=0.2) as endpoint:
        for name, workers in (("one", 1), ("many", 32)):
            build(endpoint, tmp_path / name, workers=workers)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


def test_an_interrupted_run_pays_for_nothing_twice(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(done: int, total: int, counts: Any) -> None:
        if done > 50:
            raise Stop

    with scripted_endpoint() as endpoint:
        with pytest.raises(Stop):
            build(endpoint, tmp_path / "again", workers=4, on_progress=stop)
        interrupted = endpoint.stats()["answered"]
        build(endpoint, tmp_path / "again", workers=4)
        stats = endpoint.stats()
        assert 0 < interrupted < stats["answered"]
        build(endpoint, tmp_path / "again")
        assert endpoint.stats()["answered"] == stats["answered"], "a finished run costs nothing"
        build(endpoint, tmp_path / "whole")
        # What was in flight when the run stopped is not in its cache: at most one call for each worker.
        assert stats["paid_twice"] <= 4
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_shards_and_one_process_write_the_same_pairs(tmp_path: Path) -> None:
    with scripted_endpoint(alone=0.2) as endpoint:
        build(endpoint, tmp_path / "one")
        calls = endpoint.stats()["calls"]
        build(endpoint, tmp_path / "shards", engine=in_threads)
        assert endpoint.stats()["calls"] == 2 * calls, "what is drafted here is not drafted in a shard, too"
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "shards" / name).read_bytes()


@pytest.mark.parametrize(
    ("reply", "enough"),
    [
        ("<ANSWER>: UNANSWERABLE", False),
        ("It is not said.\n<ANSWER>: Unanswerable.", False),
        ("<ANSWER>: 2,340 m", True),
        ("<ANSWER>: Its top is 2,340 m high", True),
        ("<ANSWER>: 1,200 m", False),
        ("I think it is 2,340 m high.", True),
        ("I cannot say.", False),
    ],
)
def test_one_document_is_enough_if_it_leads_to_the_answer(reply: str, enough: bool) -> None:
    assert is_enough(reply, "2,340 m") is enough


def test_settings_that_cannot_work_are_refused_before_anything_is_paid(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="hops: 3 is neither 1 nor 2"):
        DatasetSettings(hops=3)
    with pytest.raises(UserError, match="raise --distractors to 1 or more"):
        DatasetSettings(hops=2, distractors=0)
    chunks = Corpus(chunks=list(CHUNKS), documents=5)
    with pytest.raises(UserError, match="--hops 2 needs a large model"):
        teacher = Endpoint(base_url="http://127.0.0.1:9/v1", model=TEACHER_MODEL)
        build_dataset(chunks, teacher, tmp_path, DatasetSettings(hops=2))
    with pytest.raises(UserError, match="use --hops 1"):
        assemble_dataset(chunks, [], tmp_path, DatasetSettings(hops=2), total=0)
