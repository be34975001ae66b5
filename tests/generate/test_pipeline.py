"""Generation against a scripted HTTP endpoint: order, faults, resuming, errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import corpus
from tests.models.test_client import recorder
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import CallsFailed, UserError
from tools.raft.files import PROJECT, json_line, write_jsonl
from tools.raft.generate.given_questions import read_given_questions
from tools.raft.generate.pipeline import BuildResult, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.corpus import Corpus
from tools.raft.models import sender as sender_module
from tools.raft.models.endpoint import Endpoint

CHUNKS = corpus(40)
ROOT = PROJECT
DATASET = (
    "raft.jsonl",
    "train.jsonl",
    "valid.jsonl",
    "test.jsonl",
    "train.chat.jsonl",
    "rejected.jsonl",
    "chunks.jsonl",
)


def build(
    url: str, out: Path, *, model: str = "m", workers: int = 32, timeout: float = 30, **settings: Any
) -> BuildResult:
    return build_dataset(
        Corpus(chunks=list(CHUNKS), documents=5),
        Endpoint(base_url=url, model=model),
        out,
        DatasetSettings(**settings),
        workers=workers,
        timeout=timeout,
    )


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in DATASET}


def test_writes_every_requested_row(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        result = build(endpoint.url, tmp_path)
    assert result.counts.rows == 200
    assert not result.rejected
    assert len(rows(tmp_path / "raft.jsonl")) == 200
    assert sum(len(rows(tmp_path / f"{split}.jsonl")) for split in ("train", "valid", "test")) == 200
    assert "\\u" not in (tmp_path / "raft.jsonl").read_text(encoding="utf-8")


def test_drills_are_in_separate_files_and_cost_no_call(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        plain = build(endpoint.url, tmp_path / "plain")
        calls = endpoint.stats()["calls"]
        result = build(endpoint.url, tmp_path / "more", drills=2, p=0.5, formats=("chat", "dsf"))
        assert endpoint.stats()["calls"] == 2 * calls
    drills = [row for row in rows(tmp_path / "more" / "raft.jsonl") if row["origin"] == "drill"]
    chunks = {row["chunk_id"] for row in drills}
    assert len(drills) == result.counts.origins["drill"] == 2 * len(chunks) > 0
    assert {row["split"] for row in drills} == {"train"} and all(row["has_oracle"] for row in drills)
    assert result.counts.rows - len(drills) == plain.counts.rows
    assert not [note for note in result.notes if "hold their oracle" in note], "p does not count drills"
    expected = plain.counts.accepted["train"]
    assert len(rows(tmp_path / "more" / "train.chat.jsonl")) == expected, (
        "a hosted training does not pay for drills"
    )
    assert len(rows(tmp_path / "more" / "train.dsf.jsonl")) == expected
    assert len(rows(tmp_path / "more" / "drills.chat.jsonl")) == len(drills)
    assert rows(tmp_path / "more" / "drills.jsonl") == drills
    assert not (tmp_path / "more" / "drills.dsf.jsonl").exists()
    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path / "more", formats=("chat", "dsf"))
    assert not list((tmp_path / "more").glob("drills*")), "drills of an earlier run must not be trained on"


def test_rejects_a_dataset_of_drills_only(tmp_path: Path) -> None:
    with (
        scripted_endpoint(faults={"untagged": 1.0}) as endpoint,
        pytest.raises(UserError, match="no row passed"),
    ):
        build(endpoint.url, tmp_path, drills=2)


def test_the_dataset_does_not_depend_on_concurrency(tmp_path: Path) -> None:
    with scripted_endpoint(latency=0.005) as endpoint:
        build(endpoint.url, tmp_path / "one", workers=1)
        build(endpoint.url, tmp_path / "many", workers=32)
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_faults_lose_no_row_that_a_retry_can_get(tmp_path: Path) -> None:
    faults = {"500": 0.05, "429": 0.05, "malformed": 0.02, "truncated": 0.02, "untagged": 0.02, "hang": 0.01}
    with scripted_endpoint(faults=faults, retry_after=0.2) as endpoint:
        result = build(endpoint.url, tmp_path, timeout=2)
        stats = endpoint.stats()
    assert sum(stats["faults"].values()) > 20, "the faults occurred"
    written, rejected = rows(tmp_path / "raft.jsonl"), rows(tmp_path / "rejected.jsonl")
    assert len(written) + sum(row["count"] for row in rejected) == 200, "everything is accounted for"
    assert result.counts.missing == 0
    # Only rows whose reply is bad twice are lost: 0.04 squared of 200, and truncated lists of questions.
    assert len(written) >= 196
    assert {row["reason"] for row in rejected} <= {
        "truncated answer",
        "no <ANSWER> tag",
        "fewer questions came than were asked for",
    }
    for row in written:
        assert row["final_answer"]
        for quote in row["cot_answer"].split("##begin_quote##")[1:]:
            assert quote.split("##end_quote##")[0] in row["oracle_context"]


def test_another_seed_p_or_model_reuses_only_valid_replies(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path, seed=1)
        first, paid = rows(tmp_path / "raft.jsonl"), endpoint.stats()["calls"]
        build(endpoint.url, tmp_path, seed=2)
        second = rows(tmp_path / "raft.jsonl")
        assert endpoint.stats()["calls"] == paid, "the same paid answers with another draw"
        assert {row["seed"] for row in second} == {2}
        assert [row["distractor_ids"] for row in first] != [row["distractor_ids"] for row in second]

        build(endpoint.url, tmp_path, seed=1, p=0.0)
        assert not any(row["has_oracle"] for row in rows(tmp_path / "raft.jsonl"))

        build(endpoint.url, tmp_path, seed=1, model="other")
        assert endpoint.stats()["calls"] == 2 * paid, "replies of another model are not reused"
        assert {row["model"] for row in rows(tmp_path / "raft.jsonl")} == {"other"}

        result = build(endpoint.url, tmp_path, seed=1)
        assert result.usage.calls == 0
        assert rows(tmp_path / "raft.jsonl") == first


def test_resumes_after_a_kill_and_repays_only_calls_in_flight(tmp_path: Path) -> None:
    workers = 8
    with scripted_endpoint(latency=0.1) as endpoint:
        build(endpoint.url, tmp_path / "complete", workers=workers)
        calls = endpoint.stats()["calls"]
        endpoint.reset()
        chunks = tmp_path / "chunks.jsonl"
        with chunks.open("w", encoding="utf-8") as file:
            for chunk in CHUNKS:
                file.write(json_line(chunk))
        script = (
            "import sys; from pathlib import Path; from tools.raft import DatasetSettings, Endpoint, build_dataset;"
            "from tools.raft.ingest.chunks import read_chunks; from tools.raft.ingest.corpus import Corpus;"
            "build_dataset(Corpus(chunks=list(read_chunks(Path(sys.argv[1]))), documents=5),"
            f"Endpoint(base_url={endpoint.url!r}, model='m'), Path(sys.argv[2]), DatasetSettings(), workers={workers})"
        )
        out = tmp_path / "killed"
        process = subprocess.Popen([sys.executable, "-c", script, str(chunks), str(out)], cwd=ROOT)
        while endpoint.stats()["calls"] < calls // 2:
            assert process.poll() is None, "the process ended before it was killed"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / "raft.jsonl").exists(), "an incomplete dataset must not be left behind"
        time.sleep(0.3)  # calls in flight at the kill are still counted
        build(endpoint.url, out, workers=workers)
        assert endpoint.stats()["calls"] <= calls + workers
    assert files(out) == files(tmp_path / "complete")


def test_reports_an_unreachable_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "backoff", lambda failures: 0.0)
    with pytest.raises(UserError, match="127.0.0.1:9"):
        build("http://127.0.0.1:9/v1", tmp_path, timeout=1)


def test_says_why_if_no_call_brought_a_usable_reply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = b"<html><head><title>Hotel</title><style>a{}</style></head><body>Sign in &amp; surf</body></html>"
    monkeypatch.setattr(sender_module, "backoff", lambda failures: 0.0)
    with recorder(page) as (url, _), pytest.raises(CallsFailed) as failed:
        build(url, tmp_path)
    assert "not one call brought a usable reply" in str(failed.value)
    assert "a web page: Hotel – Sign in & surf" in str(failed.value)
    assert "passed" not in str(failed.value), "no row ever reached a check"


@pytest.mark.parametrize(("chunks", "distractors"), [(1, 0), (2, 0), (2, 1), (4, 3)])
def test_as_many_chunks_as_documents_in_a_row_are_enough(
    tmp_path: Path, chunks: int, distractors: int
) -> None:
    with scripted_endpoint() as endpoint:
        result = build_dataset(
            Corpus(chunks=list(CHUNKS[:chunks]), documents=1),
            Endpoint(base_url=endpoint.url, model="m"),
            tmp_path,
            DatasetSettings(questions=3, distractors=distractors, p=0.5),
        )
    written = rows(tmp_path / "raft.jsonl")
    assert len(written) == 3 * chunks
    assert all(len(row["context"]["sentences"][0]) == distractors + 1 for row in written)
    if chunks == distractors + 1:
        assert all(row["has_oracle"] for row in written)
        assert any("every row keeps its oracle" in note for note in result.notes)


def test_counts_rows_of_failed_calls_as_missing(tmp_path: Path) -> None:
    with scripted_endpoint(block="Station 7 ") as endpoint:
        result = build(endpoint.url, tmp_path)
    rejected = rows(tmp_path / "rejected.jsonl")
    assert result.counts.missing == sum(row["count"] for row in rejected) == 5
    assert result.counts.rows == 195
    assert all(row["reason"].startswith("call failed: ") for row in rejected)


def test_rejects_duplicate_questions(tmp_path: Path) -> None:
    twins = [dict(chunk, id=chunk["id"][::-1], text=chunk["text"] + " Also.") for chunk in CHUNKS]
    with scripted_endpoint() as endpoint:
        result = build_dataset(
            Corpus(chunks=[*CHUNKS, *twins], documents=5),  # type: ignore[list-item]
            Endpoint(base_url=endpoint.url, model="m"),
            tmp_path,
            DatasetSettings(),
        )
    questions = Counter(row["question"] for row in rows(tmp_path / "raft.jsonl"))
    assert max(questions.values()) == 1
    assert result.rejected["duplicate question"] > 100


def test_given_questions_find_their_chunk_and_must_match_the_given_answer(tmp_path: Path) -> None:
    given = [
        {
            "question": "How many did station 3 see near bridge 3?",
            "answers": [19, 20],
            "source": "station3.txt",
        },
        {"question": "Into which book does the warden of station 9 write?", "answer": "", "chunk_id": None},
        {"question": "How many did station 4 see?", "answers": {"text": ["a thousand and one"]}},
        {"question": "Who wrote Hamlet?", "answer": "Shakespeare", "source": "hamlet.txt"},
        {"question": "What?", "chunk_id": "none"},
        {"question": "How many did station 5 see?", "answer": 0},
        {"question": "How many did station 6 see?", "answers": []},
        {"question": "How many did station 7 see?", "relevant": [CHUNKS[7]["id"]], "answer": ""},
    ]
    write_jsonl(tmp_path / "given.jsonl", given)
    with scripted_endpoint() as endpoint:
        build_dataset(
            Corpus(chunks=list(CHUNKS), documents=5),
            Endpoint(base_url=endpoint.url, model="m"),
            tmp_path,
            DatasetSettings(questions=1),
            given=read_given_questions(tmp_path / "given.jsonl"),
        )
    written = {row["question"]: row for row in rows(tmp_path / "raft.jsonl") if row["origin"] == "given"}
    assert CHUNKS[3]["id"] == written[given[0]["question"]]["chunk_id"]
    assert CHUNKS[9]["id"] == written[given[1]["question"]]["chunk_id"]
    rejected = {row["question"]: row["reason"] for row in rows(tmp_path / "rejected.jsonl")}
    assert rejected[given[2]["question"]] == "disagrees with the expected answer"
    assert rejected[given[3]["question"]] == "no chunk found for it"
    assert rejected[given[4]["question"]] == "no such chunk_id"
    assert rejected[given[5]["question"]] == "disagrees with the expected answer"
    assert rejected[given[6]["question"]] == "its row says that no document answers it"
    assert written[given[7]["question"]]["chunk_id"] == CHUNKS[7]["id"]


def test_the_number_of_calls_equals_the_estimate(tmp_path: Path) -> None:
    from tools.raft.generate.estimate import estimate_generation

    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path, questions=3)
        paid = endpoint.stats()["calls"]
    estimate = estimate_generation(
        [chunk["tokens"] for chunk in CHUNKS], questions=3, prompt_overhead_tokens=100
    )
    assert paid == estimate.calls == 160
