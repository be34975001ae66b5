"""The parallel pipeline of Azure ML: it loads offline, and its steps run as the service runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_endpoint import scripted_endpoint
from tests.verbs.test_command_line import DATA, run
from tests.verbs.test_several_endpoints import files
from tools.raft.errors import UserError
from tools.raft.files import PROJECT

PIPELINE = PROJECT / "deploy" / "parallel"


def test_the_pipeline_loads_and_its_steps_fit_together() -> None:
    from azure.ai.ml import load_job

    job = load_job(PIPELINE / "pipeline.yaml")
    assert list(job.jobs) == ["split", "draft", "assemble"]
    for step in job.jobs.values():
        component = step.component
        command = component.command if component.type == "command" else component.task["program_arguments"]
        used = set(re.findall(r"\$\{\{(inputs|outputs)\.(\w+)\}\}", command))
        declared = {("inputs", name) for name in component.inputs} | {
            ("outputs", name) for name in component.outputs
        }
        assert declared - used <= {("inputs", "shards")}, "the shards of the parallel step are its input data"
    draft = job.jobs["draft"].component
    assert draft.input_data == "${{inputs.shards}}"
    assert (PIPELINE / draft.task["code"] / draft.task["entry_script"]).is_file()
    assert "api_key" not in (PIPELINE / "pipeline.yaml").read_text("utf-8").lower().replace(
        "azure_openai_api_key", ""
    )


def step(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "deploy/parallel/steps.py", *map(str, arguments)]
    return subprocess.run(
        command, cwd=PROJECT, env={**os.environ, **env}, capture_output=True, text=True, timeout=120
    )


def test_the_steps_write_the_dataset_of_generate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from deploy.parallel import draft_shards

    (documents := tmp_path / "documents").mkdir()
    for name in ("caves.md", "warranty.txt", "bats.pdf"):
        (documents / name).write_bytes((DATA / name).read_bytes())
    chunks, shards, drafts, out = (tmp_path / name for name in ("chunks", "shards", "drafts", "out"))
    with scripted_endpoint() as endpoint:
        env = {"RAFT_CONNECTION": f"{endpoint.url}:m"}
        split = ("split", "--documents", documents, "--chunks", chunks, "--shards", shards)
        done = step(*split, "--chunk-size", 160, "--questions", 2, **env)
        assert done.returncode == 0, done.stderr
        # Shards of the sample are few: a smaller one each, as from a larger corpus.
        assert "chunks in 1 shards" in done.stdout

        for name, value in env.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(draft_shards, "CACHE", tmp_path / "node")
        arguments = [
            "draft_shards.py",
            "--chunks",
            str(chunks),
            "--drafts",
            str(drafts),
            "--append_row_safe_output",
            "x",
        ]
        monkeypatch.setattr(sys, "argv", arguments)
        draft_shards.init()
        tasks = sorted(map(str, shards.glob("*.json")))
        early = step(
            "assemble", "--chunks", chunks, "--shards", shards, "--drafts", drafts, "--out", out, **env
        )
        assert early.returncode == 1 and "1 of 1 shards are not drafted" in early.stderr
        first = draft_shards.run(tasks)
        assert re.fullmatch(r"000000.json: \d+ chunks, [1-9]\d* calls", first[0])
        assert draft_shards.run(tasks)[0].endswith(" 0 calls"), (
            "a mini-batch that is tried again costs nothing"
        )
        draft_shards.shutdown()
        done = step(
            "assemble", "--chunks", chunks, "--shards", shards, "--drafts", drafts, "--out", out, **env
        )
        assert done.returncode == 0, done.stderr
        assert endpoint.stats()["paid_twice"] == 0
        run("generate", "--docs", documents, "--chunk-size", 160, "--questions", 2, "--out", tmp_path / "alone",
            "--connection", f"{endpoint.url}:m")  # fmt: skip
    assert files(out) == files(tmp_path / "alone")
    counts: dict[str, Any] = json.loads((out / "manifest.json").read_text("utf-8"))["counts"]
    assert counts["documents"] == 3 and not counts["missing"]


def test_a_refused_mini_batch_fails_and_is_drafted_when_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deploy.parallel import draft_shards

    with scripted_endpoint(key="sk-right-0123456") as endpoint:
        monkeypatch.setenv("RAFT_CONNECTION", f"{endpoint.url}:m")
        monkeypatch.setenv("RAFT_API_KEY", "sk-wrong-0123456")
        monkeypatch.setattr(draft_shards, "CACHE", tmp_path / "node")
        chunks, shards = tmp_path / "chunks", tmp_path / "shards"
        done = step("split", "--documents", DATA / "caves.md", "--chunks", chunks, "--shards", shards)
        assert done.returncode == 0, done.stderr
        monkeypatch.setattr(sys, "argv", ["x", "--chunks", str(chunks), "--drafts", str(tmp_path / "drafts")])
        draft_shards.init()
        tasks = sorted(map(str, shards.glob("*.json")))
        with pytest.raises(UserError, match="refused the call") as refused:
            draft_shards.run(tasks)
        assert "sk-wrong" not in str(refused.value)
        monkeypatch.setenv("RAFT_API_KEY", "sk-right-0123456")
        assert "calls" in draft_shards.run(tasks)[0]
