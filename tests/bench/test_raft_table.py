"""The whole table as its command runs it, over HTTP: nothing is asked or submitted twice, errors are one line."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.files import write_benchmarks
from tests.scripted_endpoint import scripted_endpoint
from tests.scripted_finetuning import KEY, scripted_finetuning
from tools.raft.bench.columns import COLUMNS
from tools.raft.files import PROJECT

ARMS = ["closed_book", "rag", "dsf", "dsf_rag", "raft"]
pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("tree_sitter_python"), reason="needs requirements-apibench.txt"
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_benchmarks(tmp_path_factory.mktemp("qa"))


def command(data: Path, out: Path, *options: object) -> list[str]:
    arguments = ["bench", "raft-table", "--data", data, "--out", out, "--questions", 8, *options]
    return [sys.executable, "-m", "tools", *map(str, arguments)]


def run(data: Path, out: Path, *options: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(data, out, *options), cwd=PROJECT, capture_output=True, text=True, timeout=180,
        env={**os.environ, "COLUMNS": "200", **environment}, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def models(url: str) -> list[str]:
    """Return the options that name a model for every arm, so that none is trained."""
    options = ["--base", f"{url}:base"]
    for column in COLUMNS:
        for role in ("dsf", "raft"):
            options += ["--tuned", f"{column}.{role}={url}:{column}-{role}"]
    return options


def test_all_cells_are_filled_and_a_second_run_asks_nothing(data: Path, tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        done = run(data, tmp_path, *models(endpoint.url))
        assert done.returncode == 0, done.stderr
        calls = endpoint.stats()["calls"]
        assert calls == 5 * 5 * 8
        table = (tmp_path / "table.json").read_text(encoding="utf-8")
        again = run(data, tmp_path, *models(endpoint.url))
        assert again.returncode == 0 and endpoint.stats()["calls"] == calls
    assert done.stdout.splitlines()[-1] == f"Table: 25 cells in {tmp_path / 'table.html'}"
    results = json.loads(table)
    assert (
        json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["columns"]["hotpotqa"]["arms"]
        == (results["columns"]["hotpotqa"]["arms"])
    )
    for column in results["columns"].values():
        assert list(column["arms"]) == ARMS
        for arm in column["arms"].values():
            cell = arm["metrics"][column["metric"]]
            assert (cell["n"], arm["missing"]) == (8, 0)
            assert cell["low"] <= cell["mean"] <= cell["high"]
    page = (tmp_path / "table.html").read_text(encoding="utf-8")
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    for shown in ("35.28", "84.95", "RAFT − DSF + RAG", "What differs from the paper", "constant reply"):
        assert shown in page and shown in text
    assert "<script" not in page and "torch.hub.load(&#39;pytorch/vision&#39;" in page


def test_all_arms_get_the_same_documents_and_questions(data: Path, tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        assert run(data, tmp_path, *models(endpoint.url), "--column", "hotpotqa").returncode == 0
    answers = {
        arm: [json.loads(line) for line in (tmp_path / "hotpotqa" / "answers" / f"{arm}.jsonl").open("rb")]
        for arm in ARMS
    }
    shown = {
        arm: [[document["id"] for document in row["documents"]] for row in rows]
        for arm, rows in answers.items()
    }
    assert shown["rag"] == shown["dsf_rag"] == shown["raft"]
    assert shown["closed_book"] == shown["dsf"] == [[]] * 8
    asked = [json.loads(line) for line in (tmp_path / "hotpotqa" / "questions.jsonl").open("rb")]
    for question, documents in zip(asked, shown["rag"], strict=True):
        assert set(question["oracles"]) < set(documents) and len(documents) == len(set(documents)) == 5
    assert (
        len(
            {
                documents.index(question["oracles"][0])
                for question, documents in zip(asked, shown["rag"], strict=True)
            }
        )
        > 1
    )


def test_two_models_of_one_name_do_not_answer_for_each_other(data: Path, tmp_path: Path) -> None:
    options = ["--column", "pubmedqa", "--arms", "rag,raft"]
    with scripted_endpoint() as base, scripted_endpoint() as tuned:
        named = ["--base", f"{base.url}:m", "--tuned", f"pubmedqa.raft={tuned.url}:m"]
        assert run(data, tmp_path, *named, *options).returncode == 0
        assert (base.stats()["calls"], tuned.stats()["calls"]) == (8, 8)


def test_retrieved_documents_stand_in_for_oracle_and_distractors(data: Path, tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        options = ["--column", "torchhub", "--retrieved", 3]
        assert run(data, tmp_path, *models(endpoint.url), *options).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "torchhub" / "answers" / "rag.jsonl").open("rb")]
    assert [len(row["documents"]) for row in rows] == [3] * 8
    assert "the 3 documents that lexical retrieval ranks first" in (tmp_path / "table.md").read_text("utf-8")


def test_a_killed_run_goes_on_and_missing_answers_are_counted(data: Path, tmp_path: Path) -> None:
    with scripted_endpoint(latency=0.2) as endpoint:
        options = [*models(endpoint.url), "--workers", 4]
        killed = subprocess.Popen(command(data, tmp_path, *options), cwd=PROJECT, stdout=subprocess.DEVNULL)
        while endpoint.stats()["calls"] < 40:
            time.sleep(0.1)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert run(data, tmp_path, *options).returncode == 0
        assert 200 <= endpoint.stats()["calls"] <= 204, "at most the calls in flight are repeated"
    out = tmp_path / "missing"
    with scripted_endpoint(block="Task 3 of") as endpoint:
        done = run(data, out, *models(endpoint.url), "--column", "torchhub", "--questions", 0)
    assert done.returncode == 3
    assert re.search(r"5 answers are missing: run the same command again", done.stdout)
    column = json.loads((out / "table.json").read_text(encoding="utf-8"))["columns"]["torchhub"]
    missing = column["arms"]["raft"]["missing"]
    assert missing == 1 and column["arms"]["raft"]["metrics"]["accuracy"]["n"] == 19


def test_rows_of_the_training_are_the_same_for_both_arms_and_hold_no_asked_question(
    data: Path, tmp_path: Path
) -> None:
    """A service that trains gets each file once, however often the command is run."""
    with scripted_finetuning() as service, scripted_endpoint() as endpoint:
        options = [
            "--base", f"{endpoint.url}:base", "--backend", "openai", "--model", "gpt-4o-mini",
            "--connection", service.url, "--column", "huggingface", "--arms", "rag,dsf,raft",
        ]  # fmt: skip
        refused = run(data, tmp_path, *options, RAFT_API_KEY=KEY)
        assert refused.returncode == 1 and not service.jobs
        assert re.fullmatch(
            r"error: 4 trainings would cost .*: allow it with --max-training-cost, or --yes\n", refused.stderr
        )
        first = run(data, tmp_path, *options, "--yes", "--poll", 0.05, RAFT_API_KEY=KEY)
        again = run(data, tmp_path, *options, "--yes", "--poll", 0.05, RAFT_API_KEY=KEY)
        assert len(service.jobs) == len(service.uploads) == 4
        # It trains, but deploys nothing: its models are asked, and that is all that is missing.
        assert "does not exist (HTTP 404" in first.stderr and first.stderr == again.stderr
    assert KEY not in first.stdout + first.stderr
    asked = [json.loads(line) for line in (tmp_path / "huggingface" / "questions.jsonl").open("rb")]
    for fold in (1, 2):
        folder = tmp_path / "huggingface" / f"fold-{fold}"
        raft = [json.loads(line) for line in (folder / "train.chat.jsonl").open("rb")]
        dsf = [json.loads(line) for line in (folder / "train.dsf.jsonl").open("rb")]
        assert len(raft) == len(dsf) > 0
        trained = "\n".join(row["messages"][-1]["content"] for row in raft)
        for row in asked:
            if row["fold"] == fold:
                assert row["answer"] not in trained, "no call that is asked for is trained on"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--column", "squad"], "unknown column 'squad': choose from pubmedqa"),
        (["--arms", "rag,best"], "unknown arm 'best'"),
        (["--tuned", "raft=http://127.0.0.1:1/v1:m"], "write it as COLUMN.ARM=MODEL"),
    ],
)
def test_a_mistake_is_one_line(data: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = run(data, tmp_path, *options)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1


def test_missing_data_is_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, tmp_path / "out")
    assert done.returncode == 1
    assert "ori_pqal.json is missing: `bench sources` says where" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_sources_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools", "bench", "sources"], cwd=PROJECT, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200"}, check=True,
    )  # fmt: skip
    for name in (*COLUMNS, "hotpot_dev_distractor_v1.json", "CC BY-SA 4.0"):
        assert name in done.stdout


@pytest.mark.slow
def test_the_embedded_model_is_trained_and_asked(data: Path, tmp_path: Path) -> None:
    options = [
        "--column",
        "hotpotqa",
        "--questions",
        4,
        "--train-questions",
        4,
        "--epochs",
        1,
        "--max-tokens",
        48,
    ]
    done = run(data, tmp_path, *options, "--distractors", 2)
    assert done.returncode == 0, done.stderr
    column = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))["columns"]["hotpotqa"]
    assert column["training"]["raft"]["tokens"] > column["training"]["dsf"]["tokens"] > 0
    trained = {path: path.stat().st_mtime for path in tmp_path.rglob("adapter.gguf")}
    assert len(trained) == 2 * column["folds"]
    assert run(data, tmp_path, *options, "--distractors", 2).returncode == 0
    assert trained == {path: path.stat().st_mtime for path in tmp_path.rglob("adapter.gguf")}
