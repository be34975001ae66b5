"""The whole comparison as its command runs it: no call is repeated, an error is one line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT

ROOT = PROJECT


def compare(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools", "compare", "--questions", "data/questions.jsonl", "--index", "index",
         "--out", str(out), "--mode", "lexical", "--no-similarity", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_command_compares_and_repeats_no_call(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    question = "What does it cost to rent a bodyboard for a whole day?"
    (dataset / "train.jsonl").write_text(json.dumps({"question": question}) + "\n", encoding="utf-8")
    with scripted_endpoint() as base, scripted_endpoint(block="Harrow Hole") as tuned:
        options = [
            "--baseline", f"{base.url}:gpt-4o", "--raft", f"{tuned.url}:ft:gpt-4o-mini", "--judge", f"{base.url}:j",
            "--arms", "rag,closed_book,few_shot,raft", "--distractor-questions", 5, "--training-cost", 2,
            "--without-oracle", "--dataset", dataset,
        ]  # fmt: skip
        done = compare(tmp_path, *options)
        assert done.returncode == 3, done.stderr
        files = {
            path.relative_to(tmp_path): path.read_bytes()
            for path in tmp_path.rglob("*.json*")
            if path.is_file()
        }
        calls = base.stats()["calls"]
        again = compare(tmp_path, *options)
        assert base.stats()["calls"] == calls, "a second run makes no call"
    results = done.stdout[
        done.stdout.index("Warning: ") :
    ]  # before it are lines of progress, as many as it takes
    assert again.stdout.endswith(results)
    for name, before in files.items():
        assert (tmp_path / name).read_bytes() == before, name
    assert re.match(r"Warning: \d+% of the answers of raft are missing", results), "warnings come first"
    assert done.stdout.splitlines()[-1] == f"Report: 24 questions, 4 arms in {tmp_path / 'report.html'}"
    comparison = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert list(comparison["arms"]) == ["rag", "closed_book", "few_shot", "raft"]
    assert comparison["arms"]["rag"]["judge_similarity"]["n"] == 21
    assert comparison["arms"]["closed_book"].get("judge_groundedness") is None
    assert comparison["break_even"]["raft"]["ratio"] > 2
    assert comparison["settings"]["seen_in_training"] == 1
    assert "Warning: 1 of the 24 questions stand in the training rows" in done.stdout
    without_oracle = [
        json.loads(line)
        for line in (tmp_path / "answers" / "rag.without_oracle.jsonl").open(encoding="utf-8")
    ]
    assert comparison["without_oracle"]["rag"]["questions"] == len(without_oracle) > 10
    for row in without_oracle:
        assert row["asked"].get("source") not in {document["source"] for document in row["documents"]}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("answers of raft are missing") < page.index("Results")
    assert {row["questions"] for row in comparison["distractors"]["rag"].values()} == {
        comparison["distractors"]["rag"]["10"]["questions"]
    }, "the same questions at every count"
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 4 * 24
    failed = [row for row in rows if row["arm"] == "raft" and row["tagged"] is None]
    assert failed and all(row["judge_fluency"] is None for row in failed)
    # Every arm gets the same documents in the same order.
    answers = {
        arm: [json.loads(line) for line in (tmp_path / "answers" / f"{arm}.jsonl").open(encoding="utf-8")]
        for arm in ("rag", "few_shot", "raft")
    }
    for rag, few_shot, raft in zip(*answers.values(), strict=True):
        assert rag["documents"] == few_shot["documents"] == raft["documents"]
        assert rag["id"] == few_shot["id"] == raft["id"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--baseline", "nobody:m", "--raft", "http://127.0.0.1:9:m"], "no connection 'nobody'"),
        (["--baseline", "http://127.0.0.1:9:m"], "arm raft needs a model: pass --raft"),
        (
            ["--baseline", "http://127.0.0.1:9:m", "--raft", "http://127.0.0.1:9:m", "--dataset", "data"],
            "data is not a dataset",
        ),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = compare(tmp_path, *arguments)
    assert (done.returncode, done.stdout.strip()) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_student_of_other_documents_is_compared_but_not_charged_for_this_training(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        done = compare(
            tmp_path, "--baseline", f"{endpoint.url}:gpt-4o", "--student", f"{endpoint.url}:gpt-4o-mini",
            "--raft", f"{endpoint.url}:ft:gpt-4o-mini", "--arms", "rag,student,raft",
            "--distractor-questions", 0, "--training-cost", 2,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    comparison = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert list(comparison["arms"]) == ["rag", "student", "raft"]
    spent = {arm: result["training"] for arm, result in comparison["break_even"].items()}
    assert spent == {"student": None, "raft": 2}
