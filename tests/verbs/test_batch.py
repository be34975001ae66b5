"""Batches on the command line: half the price, the same files, and what waits is found again."""

from __future__ import annotations

from pathlib import Path

from tests.scripted_batches import KEY, scripted_batches
from tests.scripted_endpoint import scripted_endpoint
from tests.verbs.test_command_line import ROOT, run
from tests.verbs.test_several_endpoints import GENERATE, files, manifest, named

PRICES = '{"models": {"m": {"input": 10, "output": 40}}}'


def test_a_batch_costs_half_and_writes_the_same_files(tmp_path: Path) -> None:
    (prices := tmp_path / "prices.json").write_text(PRICES, encoding="utf-8")
    with scripted_batches() as service, scripted_endpoint() as endpoint:
        batch = [*GENERATE, *named(service), "--batch", "--prices", prices]
        one_by_one = [*GENERATE, *named(endpoint), "--prices", prices]
        estimates = [
            run(*verb, "--out", tmp_path / "dry", "--dry-run").stdout for verb in (batch, one_by_one)
        ]
        assert "in batches, 50% of the list price" in estimates[0]
        done = run(*batch, "--out", tmp_path / "batch", RAFT_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert len(service.batches) == 2 and not service.paid_twice
        run(*one_by_one, "--out", tmp_path / "calls")
        again = run(*batch, "--out", tmp_path / "batch", RAFT_API_KEY=KEY)
    assert files(tmp_path / "batch") == files(tmp_path / "calls")
    whole, half = manifest(tmp_path / "calls"), manifest(tmp_path / "batch")
    assert half["cost_dollars"] == whole["cost_dollars"] / 2 > 0, "also when all came from the cache"
    assert "round 1: " in done.stdout and "completed" in done.stdout
    assert "0 calls paid" in again.stdout
    assert KEY not in done.stdout + done.stderr + "".join(
        p.read_text() for p in tmp_path.rglob("raft-*.jsonl")
    )


def test_pairs_of_documents_are_drafted_in_batches(tmp_path: Path) -> None:
    with scripted_batches() as service, scripted_endpoint() as endpoint:
        verb = [*GENERATE, "--hops", "2"]
        done = run(*verb, *named(service), "--batch", "--out", tmp_path / "batch", RAFT_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert not service.paid_twice
        run(*verb, *named(endpoint), "--out", tmp_path / "calls")
    assert files(tmp_path / "batch") == files(tmp_path / "calls")
    assert manifest(tmp_path / "batch")["counts"]["rows_with_several_oracles"] > 0


def test_answer_and_compare_take_batches(tmp_path: Path) -> None:
    common = [
        "--questions",
        ROOT / "data" / "held_out.jsonl",
        "--index",
        ROOT / "index",
        "--mode",
        "lexical",
        "--batch",
    ]
    with scripted_batches(states=("completed", "completed")) as service:
        done = run("answer", *common, "--out", tmp_path / "a.jsonl", *named(service), RAFT_API_KEY=KEY)
        assert done.returncode == 0, done.stderr
        assert "Answers: 30 of 30" in done.stdout and len(service.batches) == 1
        arms = [
            "--baseline",
            f"{service.url}:base",
            "--raft",
            f"{service.url}:tuned",
            "--judge",
            f"{service.url}:judge",
        ]
        done = run("compare", *common, *arms, "--no-similarity", "--distractor-questions", 0, "--out", tmp_path / "c",
                   RAFT_API_KEY=KEY)  # fmt: skip
        assert done.returncode == 0, done.stderr
        asked = [batch["lines"][0]["body"]["model"] for batch in service.batches.values()]
    assert set(asked[1:]) == {"base", "tuned", "judge"} and not service.paid_twice


def test_what_cannot_be_a_batch_is_one_line(tmp_path: Path) -> None:
    two = ["--connection", "http://127.0.0.1:9/v1:m", "--connection", "http://127.0.0.1:10/v1:m"]
    for arguments, message in (
        ([*two, "--batch"], "a batch is for one endpoint, and 2 are named"),
        (["--batch"], "the embedded model has no batches"),
        ([*two[:2], "--batch", "--batch-files", tmp_path], "exclude each other"),
    ):
        done = run(*GENERATE, "--out", tmp_path, *arguments)
        assert done.returncode == 1 and message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_calls_are_written_to_files_for_someone_else(tmp_path: Path) -> None:
    done = run(*GENERATE, "--out", tmp_path / "out", "--connection", "http://127.0.0.1:9/v1:m",
               "--batch-files", tmp_path / "shared")  # fmt: skip
    assert done.returncode == 1
    assert "run `vllm run-batch -i" in done.stderr
    assert len(list((tmp_path / "shared").glob("raft-*.jsonl"))) == 1
