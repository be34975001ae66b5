"""Several endpoints and a ceiling on the command line: the same files as with one, and who did what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.models.test_pool import serving
from tests.verbs.test_command_line import DATA, ROOT, run

GENERATE = [
    "generate", "--docs", DATA / "caves.md", DATA / "warranty.txt", DATA / "bats.pdf", "--chunk-size", 160,
    "--questions", 2,
]  # fmt: skip
FILES = ("raft.jsonl", "rejected.jsonl", "train.jsonl", "train.chat.jsonl", "valid.jsonl", "test.jsonl")


def files(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in FILES}


def manifest(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "manifest.json").read_text(encoding="utf-8")))


def named(*served: Any, model: str = "m") -> list[str]:
    return [part for one in served for part in ("--connection", f"{one.url}:{model}")]


def test_several_endpoints_write_the_same_files_as_one(tmp_path: Path) -> None:
    slow, refusing, junk = {"latency": 0.05}, {"key": "sk-right"}, {"faults": {"malformed": 1.0}}
    with serving({}, slow, slow, refusing, junk) as served:
        alone = run(*GENERATE, "--out", tmp_path / "one", *named(served[0]))
        done = run(*GENERATE, "--out", tmp_path / "many", "--hedge", *named(*served[1:]))
        again = run(*GENERATE, "--out", tmp_path / "many", *named(served[1]))
        calls = [one.stats()["answered"] for one in served]
    assert alone.returncode == done.returncode == again.returncode == 0, done.stderr
    assert files(tmp_path / "one") == files(tmp_path / "many")
    assert "requires a key, but none is set" in done.stderr and "going on without it" in done.stderr
    assert "Endpoints" in done.stdout and "refused, see above" in done.stdout
    assert "Endpoints" not in alone.stdout
    assert "0 calls paid" in again.stdout and sum(calls[1:3]) >= calls[0]
    accounts = manifest(tmp_path / "one")["endpoints"]
    assert [account["calls"] for account in accounts] == [calls[0]]
    accounts = manifest(tmp_path / "many")["endpoints"]
    assert [account["endpoint"] for account in accounts] == [served[1].url], "of the last run"


def test_models_of_different_names_are_told_apart_in_the_rows(tmp_path: Path) -> None:
    with serving({"latency": 0.02}, {"latency": 0.02}) as served:
        pool = [*named(served[0], model="llama-a"), *named(served[1], model="llama-b")]
        done = run(*GENERATE, "--out", tmp_path, *pool)
    assert done.returncode == 0
    assert "llama-a and llama-b are asked as one model" in done.stderr
    records = [json.loads(line) for line in (tmp_path / "raft.jsonl").read_text("utf-8").splitlines()]
    assert {record["model"] for record in records} == {"llama-a", "llama-b"}
    assert manifest(tmp_path)["models"]["teacher"] == "llama-a llama-b"


def test_the_embedded_teacher_shares_no_run(tmp_path: Path) -> None:
    done = run(
        *GENERATE, "--out", tmp_path, "--connection", "embedded", "--connection", "http://127.0.0.1:9/v1:m"
    )
    assert done.returncode == 1
    assert "cannot share a run with other models" in done.stderr.strip().splitlines()[-1]


def test_a_ceiling_stops_a_run_which_goes_on_when_it_is_raised(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"m": {"input": 10, "output": 40}}}', encoding="utf-8")
    with serving({}, {}) as served:
        whole = run(*GENERATE, "--out", tmp_path / "whole", *named(served[0]))
        out = tmp_path / "out"
        some = run(*GENERATE, "--out", out, *named(served[1]), "--max-calls", 50)
        assert served[1].stats()["calls"] == 50
        more = run(*GENERATE, "--out", out, *named(served[1]), "--max-cost", 0.06, "--prices", prices)
        tokens = manifest(out)["tokens"]
        paid = (10 * tokens["prompt_tokens"] + 40 * tokens["completion_tokens"]) / 1e6
        rest = run(*GENERATE, "--out", out, *named(served[1]), "--max-cost", 5, "--prices", prices)
        assert served[1].stats()["paid_twice"] == 0
    assert (some.returncode, more.returncode, rest.returncode, whole.returncode) == (3, 3, 0, 0), some.stderr
    assert (
        "rows are missing, as calls failed: the ceiling of 50 calls (--max-calls) is reached" in some.stdout
    )
    assert "the ceiling of $0.06 (--max-cost) is reached" in more.stdout
    assert 0 < paid <= 0.06
    assert files(out) == files(tmp_path / "whole")


def test_a_ceiling_in_dollars_needs_a_price(tmp_path: Path) -> None:
    done = run(*GENERATE, "--out", tmp_path, "--connection", "http://127.0.0.1:9/v1:ours", "--max-cost", 5)
    assert done.returncode == 1
    assert "--max-cost needs the price of ours" in done.stderr


def test_answer_and_compare_take_several_endpoints(tmp_path: Path) -> None:
    questions, index = ROOT / "data" / "held_out.jsonl", ROOT / "index"
    common = ["--questions", questions, "--index", index, "--mode", "lexical"]
    with serving({"latency": 0.02}, {"latency": 0.02}, {"always": 404}) as served:
        done = run("answer", *common, "--out", tmp_path / "a.jsonl", *named(*served))
        assert done.returncode == 0, done.stderr
        assert "Endpoints" in done.stdout and "does not exist" in done.stderr
        assert all(one.stats()["answered"] for one in served[:2])
        one, two = (f"{each.url}:m" for each in served[:2])
        compared = [
            "compare",
            *common,
            "--out",
            tmp_path / "c",
            "--no-similarity",
            "--distractor-questions",
            0,
        ]
        # Both arms' models have one name, but not one address: neither takes the other's replies.
        done = run(*compared, "--baseline", one, "--raft", two)
        assert done.returncode == 0, done.stderr
        before = [each.stats()["calls"] for each in served[:2]]
        done = run(*compared, "--baseline", f"{served[0].url}:base", "--baseline", f"{served[1].url}:base",
                   "--raft", one)  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Endpoints of baseline" in done.stdout
        assert all(each.stats()["calls"] > calls for each, calls in zip(served, before, strict=False))
