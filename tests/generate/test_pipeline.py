"""Generation against a real HTTP endpoint that is scripted: order, faults, resume, exit."""

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
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, json_line
from tools.raft.generate.pipeline import BuildResult, DatasetSettings, build_dataset
from tools.raft.ingest.corpus import Corpus
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


def test_every_row_asked_for_is_there(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        result = build(endpoint.url, tmp_path)
    assert result.counts.rows == 200
    assert not result.rejected
    assert len(rows(tmp_path / "raft.jsonl")) == 200
    assert sum(len(rows(tmp_path / f"{split}.jsonl")) for split in ("train", "valid", "test")) == 200
    assert "\\u" not in (tmp_path / "raft.jsonl").read_text(encoding="utf-8")


def test_drills_stand_in_files_of_their_own_and_cost_no_call(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        plain = build(endpoint.url, tmp_path / "plain")
        calls = endpoint.stats()["calls"]
        result = build(endpoint.url, tmp_path / "more", drills=2, p=0.5, formats=("chat", "dsf"))
        assert endpoint.stats()["calls"] == 2 * calls
    made = [row for row in rows(tmp_path / "more" / "raft.jsonl") if row["origin"] == "drill"]
    chunks = {row["chunk_id"] for row in made}
    assert len(made) == result.counts.origins["drill"] == 2 * len(chunks) > 0
    assert {row["split"] for row in made} == {"train"} and all(row["has_oracle"] for row in made)
    assert result.counts.rows - len(made) == plain.counts.rows
    assert not [note for note in result.notes if "hold their oracle" in note], "p is of the questions asked"
    asked = plain.counts.accepted["train"]
    assert len(rows(tmp_path / "more" / "train.chat.jsonl")) == asked, "a hosted training pays for no drill"
    assert len(rows(tmp_path / "more" / "train.dsf.jsonl")) == asked
    assert len(rows(tmp_path / "more" / "drills.chat.jsonl")) == len(made)
    assert rows(tmp_path / "more" / "drills.jsonl") == made
    assert not (tmp_path / "more" / "drills.dsf.jsonl").exists()
    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path / "more", formats=("chat", "dsf"))
    assert not list((tmp_path / "more").glob("drills*")), "those of an earlier run would be learnt from"


def test_drills_alone_are_no_dataset(tmp_path: Path) -> None:
    with (
        scripted_endpoint(faults={"untagged": 1.0}) as endpoint,
        pytest.raises(UserError, match="not one row"),
    ):
        build(endpoint.url, tmp_path, drills=2)


def test_concurrency_does_not_show_in_the_dataset(tmp_path: Path) -> None:
    with scripted_endpoint(latency=0.005) as endpoint:
        build(endpoint.url, tmp_path / "one", workers=1)
        build(endpoint.url, tmp_path / "many", workers=32)
    assert files(tmp_path / "one") == files(tmp_path / "many")


def test_faults_cost_no_row_that_can_be_had(tmp_path: Path) -> None:
    faults = {"500": 0.05, "429": 0.05, "malformed": 0.02, "truncated": 0.02, "untagged": 0.02, "hang": 0.01}
    with scripted_endpoint(faults=faults, retry_after=0.2) as endpoint:
        result = build(endpoint.url, tmp_path, timeout=2)
        stats = endpoint.stats()
    assert sum(stats["faults"].values()) > 20, "the faults did happen"
    written, rejected = rows(tmp_path / "raft.jsonl"), rows(tmp_path / "rejected.jsonl")
    assert len(written) + sum(row["count"] for row in rejected) == 200, "everything is accounted for"
    assert result.counts.missing == 0
    # Only a row whose text was bad twice is lost: 0.04 squared of 200, and lists of questions cut short.
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


def test_another_seed_p_or_model_reuses_nothing_it_should_not(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path, seed=1)
        first, paid = rows(tmp_path / "raft.jsonl"), endpoint.stats()["calls"]
        build(endpoint.url, tmp_path, seed=2)
        second = rows(tmp_path / "raft.jsonl")
        assert endpoint.stats()["calls"] == paid, "another draw of the same paid answers"
        assert {row["seed"] for row in second} == {2}
        assert [row["distractor_ids"] for row in first] != [row["distractor_ids"] for row in second]

        build(endpoint.url, tmp_path, seed=1, p=0.0)
        assert not any(row["has_oracle"] for row in rows(tmp_path / "raft.jsonl"))

        build(endpoint.url, tmp_path, seed=1, model="other")
        assert endpoint.stats()["calls"] == 2 * paid, "another model answers for itself"
        assert {row["model"] for row in rows(tmp_path / "raft.jsonl")} == {"other"}

        result = build(endpoint.url, tmp_path, seed=1)
        assert result.usage.calls == 0
        assert rows(tmp_path / "raft.jsonl") == first


def test_killed_half_way_it_goes_on_and_pays_only_what_was_in_flight(tmp_path: Path) -> None:
    workers = 8
    with scripted_endpoint(latency=0.1) as endpoint:
        build(endpoint.url, tmp_path / "whole", workers=workers)
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
            assert process.poll() is None, "it ended before it was killed"
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / "raft.jsonl").exists(), "half a dataset must not look like one"
        time.sleep(0.3)  # calls under way when it died are still counted
        build(endpoint.url, out, workers=workers)
        assert endpoint.stats()["calls"] <= calls + workers
    assert files(out) == files(tmp_path / "whole")


def test_an_endpoint_that_is_not_there_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="127.0.0.1:9"):
        build("http://127.0.0.1:9/v1", tmp_path, timeout=1)


def test_calls_that_fail_for_good_are_missing_rows_not_refused_ones(tmp_path: Path) -> None:
    with scripted_endpoint(block="Station 7 ") as endpoint:
        result = build(endpoint.url, tmp_path)
    rejected = rows(tmp_path / "rejected.jsonl")
    assert result.counts.missing == sum(row["count"] for row in rejected) == 5
    assert result.counts.rows == 195
    assert all(row["reason"].startswith("call failed: ") for row in rejected)


def test_duplicate_questions_are_refused_once_each(tmp_path: Path) -> None:
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


def test_given_questions_find_their_chunk_and_keep_to_the_given_answer(tmp_path: Path) -> None:
    given = [
        {
            "question": "How many did station 3 see near bridge 3?",
            "answer": "20",
            "source": "station3.txt",
            "chunk_id": "",
        },
        {
            "question": "Into which book does the warden of station 9 write?",
            "answer": "",
            "source": "",
            "chunk_id": "",
        },
        {
            "question": "How many did station 4 see?",
            "answer": "a thousand and one",
            "source": "",
            "chunk_id": "",
        },
        {"question": "Who wrote Hamlet?", "answer": "Shakespeare", "source": "hamlet.txt", "chunk_id": ""},
        {"question": "What?", "answer": "", "source": "", "chunk_id": "none"},
    ]
    with scripted_endpoint() as endpoint:
        build_dataset(
            Corpus(chunks=list(CHUNKS), documents=5),
            Endpoint(base_url=endpoint.url, model="m"),
            tmp_path,
            DatasetSettings(questions=1),
            given=given,  # type: ignore[arg-type]
        )
    written = {row["question"]: row for row in rows(tmp_path / "raft.jsonl") if row["origin"] == "given"}
    assert CHUNKS[3]["id"] == written[given[0]["question"]]["chunk_id"]
    assert CHUNKS[9]["id"] == written[given[1]["question"]]["chunk_id"]
    refused = {row["question"]: row["reason"] for row in rows(tmp_path / "rejected.jsonl")}
    assert refused[given[2]["question"]] == "disagrees with the expected answer"
    assert refused[given[3]["question"]] == "no chunk found for it"
    assert refused[given[4]["question"]] == "no such chunk_id"


def test_the_endpoint_is_asked_as_often_as_the_estimate_says(tmp_path: Path) -> None:
    from tools.raft.generate.estimate import estimate_generation

    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path, questions=3)
        paid = endpoint.stats()["calls"]
    estimate = estimate_generation(
        [chunk["tokens"] for chunk in CHUNKS], questions=3, prompt_overhead_tokens=100
    )
    assert paid == estimate.calls == 160
