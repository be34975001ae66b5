"""Rows longer than the model takes: refused by name on every backend, or left out by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.finetune.jobs import chat_row, make_backend, write_dataset
from tests.scripted_finetuning import KEY, scripted_finetuning
from tests.tiny import save_tiny_model
from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.finetune.azure.backend import AzureMLBackend
from tools.raft.finetune.backend import Backend, FineTuneSpec
from tools.raft.finetune.job import check_spec, run_job
from tools.raft.finetune.local.backend import LocalBackend, train_from_spec
from tools.raft.finetune.openai import OpenAIBackend
from tools.raft.models.endpoint import Endpoint

MODEL = "Meta-Llama-3-70B-Instruct"  # its context is 8,192
AZURE = f"azureml-meta/{MODEL}:5"
TINY = 2_048  # the context of the tiny model, whose tokens are bytes


def long_row(number: int, tokens: int) -> dict:
    row = chat_row(number)
    row["messages"][0]["content"] = "newt " * tokens + row["messages"][0]["content"]  # type: ignore[index]
    return row


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_tiny_model(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write a dataset with two rows for training and one for validation that no model here takes."""
    train = [chat_row(number) for number in range(14)]
    train[3], train[11] = long_row(3, 9_000), long_row(11, 8_500)
    return write_dataset(tmp_path / "data", train, [chat_row(20), long_row(21, 9_500)])


def open_backends(folder: Path, tiny: str) -> list[tuple[Backend, str]]:
    hosted = OpenAIBackend(lambda: Endpoint("http://127.0.0.1:9/v1", MODEL))
    return [(LocalBackend(folder), tiny), (AzureMLBackend(env={}), AZURE), (hosted, MODEL)]


def test_every_backend_names_the_rows_before_anything_starts(
    dataset: Path, tmp_path: Path, tiny: str
) -> None:
    for backend, model in open_backends(tmp_path / "out", tiny):
        spec = FineTuneSpec(dataset, model)
        with pytest.raises(UserError) as refusal:
            backend.check(spec)
        message = str(refusal.value)
        assert "3 of 16 rows are longer than the " in message and "--skip-long" in message
        for file, line in (("train", 4), ("train", 12), ("valid", 2)):
            assert f"{dataset / file}.chat.jsonl, line {line} has " in message
        assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_skipped_rows_are_kept_with_their_reason_and_the_rest_is_as_before(
    dataset: Path, tmp_path: Path, tiny: str
) -> None:
    out = tmp_path / "out"
    for backend, model in open_backends(out, tiny):
        spec = FineTuneSpec(dataset, model)
        shortened, lengths = check_spec(backend, spec, out, skip_long=True)
        assert [(row.path.name, row.line) for row in lengths.long] == [
            ("train.chat.jsonl", 4), ("train.chat.jsonl", 12), ("valid.chat.jsonl", 2),
        ]  # fmt: skip
        lines = (dataset / "train.chat.jsonl").read_bytes().splitlines(keepends=True)
        assert shortened.file("train").read_bytes() == b"".join(lines[:3] + lines[4:11] + lines[12:])
        assert len(shortened.file("valid").read_bytes().splitlines()) == 1
        skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text("utf-8").splitlines()]
        assert [row["line"] for row in skipped] == [4, 12, 2]
        assert skipped[0]["row"] == long_row(3, 9_000)
        assert skipped[0]["reason"].startswith("longer than the ")
        assert skipped[0]["tokens"] > TINY
        again, _ = check_spec(backend, spec, out, skip_long=True)
        assert again.key == shortened.key, "run again, it is the same job"


def test_a_dataset_without_long_rows_is_trained_on_where_it_stands(tmp_path: Path, tiny: str) -> None:
    spec = FineTuneSpec(write_dataset(tmp_path / "data", [chat_row(n) for n in range(12)], []), tiny)
    checked, lengths = check_spec(LocalBackend(tmp_path / "out"), spec, tmp_path / "out", skip_long=True)
    assert checked == spec and not lengths.long and lengths.longest
    assert not (tmp_path / "out").exists()


def test_nothing_is_submitted_if_too_few_rows_are_left(tmp_path: Path, tiny: str) -> None:
    rows = [chat_row(n) for n in range(9)] + [long_row(n, 9_000) for n in range(3)]
    hosted = FineTuneSpec(write_dataset(tmp_path / "few", rows, []), MODEL)
    with pytest.raises(UserError, match=r"9 rows; OpenAI and Azure OpenAI take 10"):
        check_spec(open_backends(tmp_path / "out", tiny)[2][0], hosted, tmp_path / "out", skip_long=True)
    local = FineTuneSpec(write_dataset(tmp_path / "none", rows[9:], []), tiny)
    with pytest.raises(UserError, match=r"no row to train on is left: 3 of 3 rows"):
        check_spec(LocalBackend(tmp_path / "out"), local, tmp_path / "out", skip_long=True)


def test_the_uploaded_file_lacks_the_rows_left_out(dataset: Path, tmp_path: Path) -> None:
    with scripted_finetuning() as service:
        backend = make_backend(service)
        spec, _ = check_spec(backend, FineTuneSpec(dataset, MODEL), tmp_path / "out", skip_long=True)
        record = run_job(backend, spec, tmp_path / "out", poll=0.01)
        assert record["state"] == "succeeded"
        uploaded = list(service.uploads.values())
        assert sorted(content.count(b"\n") for content in uploaded) == [1, 12]
        assert not any(b"newt newt" in content for content in uploaded)


def test_the_training_itself_refuses_what_the_check_refuses(dataset: Path, tmp_path: Path, tiny: str) -> None:
    spec = FineTuneSpec(dataset, tiny)
    with pytest.raises(UserError) as checked:
        LocalBackend(tmp_path / "out").check(spec)
    with pytest.raises(UserError) as trained:
        train_from_spec(spec, tmp_path / "out")
    assert str(trained.value) == str(checked.value)


def test_a_row_as_long_as_the_context_trains(tmp_path: Path, tiny: str) -> None:
    row = chat_row(0)
    spec = FineTuneSpec(tmp_path / "data", tiny, epochs=1)
    write_dataset(spec.dataset, [row], [])
    longest = LocalBackend(tmp_path / "out").check(spec).longest
    assert longest is not None
    row["messages"][0]["content"] += "x" * (TINY - longest.tokens)  # type: ignore[index]
    write_dataset(spec.dataset, [row], [])
    longest = LocalBackend(tmp_path / "out").check(spec).longest
    assert longest is not None and longest.tokens == TINY
    assert train_from_spec(spec, tmp_path / "out").tokens > TINY - 5
    row["messages"][0]["content"] += "x"  # type: ignore[index]
    write_dataset(spec.dataset, [row], [])
    with pytest.raises(UserError, match=r"1 of 1 rows is longer than the 2,048 tokens .*has 2,049 tokens"):
        LocalBackend(tmp_path / "out").check(spec)


def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools", "finetune", *map(str, arguments)],
        cwd=PROJECT,
        env={**os.environ, "COLUMNS": "200", **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_dry_run_refuses_what_the_real_run_refuses(dataset: Path, tmp_path: Path) -> None:
    options = ("--dataset", dataset, "--out", tmp_path / "out", "--backend", "openai", "--model", MODEL,
               "--base-url", "http://127.0.0.1:9/v1")  # fmt: skip
    dry, real = run(*options, "--dry-run"), run(*options)
    assert dry.returncode == real.returncode == 1
    assert dry.stderr == real.stderr and "3 of 16 rows are longer than the 8,192 tokens" in dry.stderr
    skipping = run(*options, "--dry-run", "--skip-long")
    assert skipping.returncode == 0, skipping.stderr
    assert f"left out: {dataset / 'valid.chat.jsonl'}, line 2, about " in skipping.stdout
    assert "tokens trained" in skipping.stdout
    assert not (tmp_path / "out").exists(), "a dry run leaves nothing behind"


def test_the_last_lines_count_what_was_left_out(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with scripted_finetuning() as service:
        done = run(
            "--dataset", dataset, "--out", out, "--backend", "openai", "--model", MODEL, "--skip-long", "--yes",
            "--base-url", service.url, "--poll", 0.05, RAFT_API_KEY=KEY,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (
        f"3 of 16 rows left out, longer than the 8,192 tokens that {MODEL} takes: see {out / 'skipped.jsonl'}"
        in (done.stdout.splitlines()[-2])
    )
    assert done.stdout.splitlines()[-1].startswith(f"Model: ft:{MODEL}")
