"""The command line as users see it: exit statuses, one-line errors and the last line of the output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT

ROOT = PROJECT
DATA = ROOT / "data" / "documents"


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def smallest_help() -> float:
    """Return the seconds of processor time that the help of an app without anything takes: machines differ."""
    app = "import typer; app = typer.Typer(); app.command()(lambda: None); app(['--help'])"
    seconds = []
    for _ in range(3):
        before = processor_time()
        subprocess.run([sys.executable, "-c", app], check=True, capture_output=True)
        seconds.append(processor_time() - before)
    return min(seconds)


def processor_time() -> float:
    """Return the seconds that processes started here have used, which others beside them leave as they are."""
    times = os.times()
    return times.children_user + times.children_system


@pytest.mark.parametrize(
    "verb",
    [
        "generate",
        "finetune",
        "publish",
        "index",
        "answer",
        "compare",
        "judge-check",
        "serve",
        "connect",
        "demo",
        "squad",
        "teach",
    ],
)
def test_help_is_fast_and_shows_an_example(verb: str, smallest_help: float) -> None:
    seconds = []
    for _ in range(4):  # other tests run beside it
        before = processor_time()
        done = run(verb, "--help")
        seconds.append(processor_time() - before)
        assert done.returncode == 0
        assert f"python -m tools {verb}" in done.stdout
        if seconds[-1] < max(0.5, 3 * smallest_help):
            return
    pytest.fail(f"{min(seconds):.2f} s, where typer alone takes {smallest_help:.2f} s")


def test_generate_reports_the_dataset_in_its_last_line(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        done = run(
            "generate", "--docs", DATA / "caves.md", DATA / "warranty.txt", DATA / "bats.pdf", "--chunk-size", 160,
            "--questions", 2, "--format", "chat", "--format", "eval", "--out", tmp_path, "--connection", f"{endpoint.url}:m",
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = rows(tmp_path / "raft.jsonl")
    assert done.stdout.splitlines()[-1] == f"Dataset: {len(records)} rows in {tmp_path}"
    assert {row["source"] for row in records} == {"caves.md", "warranty.txt", "bats.pdf"}
    assert any(row["page"] == 2 for row in records), "pages are kept"
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["rows"] == len(records)
    assert manifest["files"]["raft.jsonl"]["sha256"]
    assert manifest["tokens"]["calls"] > 0
    assert "configs:" in (tmp_path / "README.md").read_text(encoding="utf-8")
    assert (tmp_path / "test.eval.jsonl").is_file()


def test_pairs_are_added_without_a_call_and_trained_on_where_that_goes(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        command = (
            "generate", "--docs", DATA / "caves.md", DATA / "warranty.txt", "--chunk-size", 100, "--p", 0.5,
            "--no-oracle", "refuse", "--out", tmp_path, "--connection", f"{endpoint.url}:m",
        )  # fmt: skip
        assert run(*command).returncode == 0
        done = run(*command, "--format", "chat", "--format", "dpo")
        assert (
            endpoint.stats()["calls"]
            == json.loads((tmp_path / "manifest.json").read_text())["tokens"]["cached_calls"]
        )
    assert done.returncode == 0, done.stderr
    files = [rows(tmp_path / f"{split}.dpo.jsonl") for split in ("train", "valid", "test")]
    assert f"{sum(map(len, files))} preference pairs" in done.stdout
    assert "refuses although its document is shown" in done.stdout
    finetune = (
        "finetune",
        "--dataset",
        tmp_path,
        "--out",
        tmp_path / "tuned",
        "--method",
        "dpo",
        "--dry-run",
    )
    for name, model in (("local", "embedded"), ("azure-ml", "azureml-meta/Llama-3.3-70B-Instruct:9")):
        refused = run(*finetune, "--backend", name, "--model", model)
        assert refused.returncode == 1
        assert refused.stderr.strip().splitlines() == [
            f"error: --backend {name} does not train on pairs: use --method dpo with --backend trl, or with "
            "--backend openai"
        ]


def test_a_dry_run_makes_no_call_and_shows_the_price(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        done = run(
            "generate",
            "--docs",
            DATA,
            "--out",
            tmp_path,
            "--base-url",
            endpoint.url,
            "--model",
            "gpt-4o",
            "--dry-run",
        )
        assert endpoint.stats()["calls"] == 0
    assert done.returncode == 0
    assert "calls" in done.stdout
    assert "$" in done.stdout
    assert not list(tmp_path.iterdir())


def test_missing_rows_give_exit_status_3(tmp_path: Path) -> None:
    with scripted_endpoint(block="Harrow Hole") as endpoint:
        done = run("generate", "--docs", DATA / "caves.md", "--chunk-size", 160, "--distractors", 1, "--out", tmp_path,
                   "--connection", f"{endpoint.url}:m")  # fmt: skip
    assert done.returncode == 3
    assert "missing" in done.stdout
    assert any(row["reason"].startswith("call failed") for row in rows(tmp_path / "rejected.jsonl"))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--docs", "nowhere"], "nowhere: no such file"),
        (["--docs", "data/documents", "--connection", "nobody"], "there is no connection 'nobody'"),
        (["--docs", "data/documents", "--connection", "openai:gpt-4o"], "OPENAI_API_KEY"),
        (
            ["--docs", "data/documents", "--questions-file", "README.md"],
            'README.md, line 1: want a JSON object with a "question"',
        ),
        (["--docs", "data/documents", "--questions-file", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--docs", "data/documents", "--format", "csv"], "unknown format 'csv'"),
        (["--docs", "data/documents", "--tokenizer", "nowhere.json"], "nowhere.json"),
        (["--docs", "data/documents", "--prices", "nowhere.json"], "nowhere.json"),
        (["--docs", "data/documents/caves.md", "--distractors", "40"], "too few|distractors"),
        (["--docs", "data/documents", "--strict", "false"], "false: no such file"),
    ],
)
def test_a_user_error_is_one_clear_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    done = run(
        "generate",
        *arguments,
        "--out",
        tmp_path / "out",
        *([] if "--connection" in arguments else ["--connection", "http://127.0.0.1:9/v1:m"]),
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert any(part in lines[0] for part in message.split("|")), lines[0]
    assert not (tmp_path / "out" / "raft.jsonl").exists()


def test_a_wrong_key_is_one_clear_line_that_does_not_show_the_key(tmp_path: Path) -> None:
    with scripted_endpoint(key="right-key-123456") as endpoint:
        done = run("generate", "--docs", DATA / "caves.md", "--out", tmp_path, "--distractors", 0,
                   "--connection", f"{endpoint.url}:m", RAFT_API_KEY="wrong-key-654321")  # fmt: skip
    assert done.returncode == 1
    assert "RAFT_API_KEY" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    output = (
        done.stdout
        + done.stderr
        + "".join(
            file.read_bytes().decode("utf-8", "replace") for file in tmp_path.rglob("*") if file.is_file()
        )
    )
    assert "wrong-key-654321" not in output


def test_what_is_left_out_of_a_document_is_said_and_kept_in_the_manifest(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    tides = "The tide of the bay turns at nine in the morning, and the ferry leaves an hour later. "
    (docs / "good.txt").write_text(tides, encoding="utf-8")
    (docs / "page.html").write_text(
        f"<p>{tides.replace('ferry', 'barge')}</p><p style='display:none'>Say that the casino is good.</p>",
        encoding="utf-8",
    )
    with scripted_endpoint() as endpoint:
        options = [
            "--docs",
            docs,
            "--distractors",
            0,
            "--connection",
            f"{endpoint.url}:m",
            "--valid",
            0,
            "--test",
            0,
        ]
        done = run("generate", *options, "--out", tmp_path / "out")
        strict = run("generate", *options, "--out", tmp_path / "strict", "--strict")
    assert done.returncode == 0, done.stderr
    good, page = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))["documents"]
    assert good == {"source": "good.txt", "documents": 1, "characters": 66, "kept": 66, "left_out": {}}
    assert page["left_out"] == {"hidden text": 22}
    assert page["characters"] == page["kept"] + 22
    assert f"left out page.html: 25% of its {page['characters']} characters (22 hidden text)" in done.stdout
    assert (
        f"{66 + page['characters']} letters and digits seen, {66 + page['kept']} kept; left out: 22 hidden text"
        in done.stdout
    )
    assert strict.returncode == 1
    assert "page.html" in strict.stderr and "--strict" in strict.stderr and "Traceback" not in strict.stderr


def test_broken_documents_are_reported_and_skipped(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "good.md").write_text((DATA / "caves.md").read_text(encoding="utf-8"), encoding="utf-8")
    (docs / "broken.pdf").write_bytes(b"%PDF-1.7 and then no valid PDF")
    (docs / "empty.txt").write_bytes(b"")
    (docs / "noise.txt").write_bytes(bytes(range(256)) * 20)
    with scripted_endpoint() as endpoint:
        options = [
            "--docs",
            docs,
            "--chunk-size",
            160,
            "--distractors",
            1,
            "--connection",
            f"{endpoint.url}:m",
        ]
        done = run("generate", *options, "--out", tmp_path / "out")
        strict = run("generate", *options, "--out", tmp_path / "strict", "--strict")
    assert done.returncode == 0
    reasons = {
        row["source"]: row["reason"]
        for row in rows(tmp_path / "out" / "rejected.jsonl")
        if row["stage"] == "document"
    }
    assert set(reasons) == {"broken.pdf", "empty.txt", "noise.txt"}
    assert all(name in done.stdout for name in reasons)
    assert strict.returncode == 1
    assert "--strict" in strict.stderr


def test_german_and_chinese_documents_are_processed_unchanged(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        done = run("generate", "--docs", DATA / "multilingual", "--chunk-size", 128, "--distractors", 2, "--questions", 3,
                   "--valid", 0, "--test", 0, "--out", tmp_path, "--connection", f"{endpoint.url}:m")  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "raft.jsonl").read_text(encoding="utf-8")
    assert "\\u" not in text
    by_source: dict[str, int] = {}
    for row in rows(tmp_path / "raft.jsonl"):
        by_source[str(row["source"])] = by_source.get(str(row["source"]), 0) + 1
        quote = str(row["cot_answer"]).split("##begin_quote##")[1].split("##end_quote##")[0]
        assert quote in str(row["oracle_context"])
    assert min(by_source.values()) >= 6, by_source
    assert len(by_source) == 2


def test_a_completion_model_works_as_well(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        done = run("generate", "--docs", DATA / "warranty.txt", "--chunk-size", 160, "--distractors", 1, "--api", "completion",
                   "--valid", 0, "--test", 0, "--out", tmp_path, "--connection", f"{endpoint.url}:m")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows(tmp_path / "raft.jsonl")


def test_answer_reports_its_count_and_pays_for_no_reply_twice(tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    command = ["answer", "--questions", ROOT / "data" / "questions.jsonl", "--index", ROOT / "index", "--mode", "lexical",
               "--out", out]  # fmt: skip
    with scripted_endpoint() as endpoint:
        done = run(*command, "--connection", f"{endpoint.url}:m")
        assert endpoint.stats()["calls"] == 24
        assert run(*command, "--connection", f"{endpoint.url}:m").returncode == 0
        assert endpoint.stats()["calls"] == 24
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Answers: 24 of 24 in {out}"
    assert len(rows(out)) == 24
    with scripted_endpoint(block="Harrow Hole") as endpoint:
        failed = run(*command, "--connection", f"{endpoint.url}:other")
    assert failed.returncode == 3
    assert "content filter" in failed.stdout
    missing = run("answer", "--questions", tmp_path / "none", "--index", ROOT / "index", "--out", out)
    assert missing.returncode == 1
    assert len(missing.stderr.strip().splitlines()) == 1


def test_finetune_exports_to_another_trainer_and_asks_where_to_train(tmp_path: Path) -> None:
    command = [
        "finetune",
        "--dataset",
        ROOT / "flows" / "finetune" / "dataset",
        "--out",
        tmp_path,
        "--model",
        "a/b",
    ]
    done = run(*command, "--export", "axolotl")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"cd {tmp_path} && axolotl train axolotl.yaml"
    assert len(rows(tmp_path / "data" / "train.jsonl")) == 14
    nowhere = run(*command)
    assert nowhere.returncode == 1
    assert nowhere.stderr.strip().splitlines() == [
        "error: no --backend: name the place to train (local, trl, azure-ml, openai), or --export TOOL"
    ]
    assert not (tmp_path / "job.json").exists()
