"""Training in several processes: the rows are divided, a killed job goes on, and what does not improve stops."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.finetune.trl.test_backend import COLOURS, chat, needs_trl, wait_for, write_rows
from tests.tiny import save_tiny_model
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, read_log, read_object
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.trl.backend import last_checkpoint
from tools.raft.finetune.trl.cluster import train_in_job
from tools.raft.finetune.trl.config import share_batch

TRAIN = str(PROJECT / "deploy" / "finetune" / "train.py")
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def order(tmp_path: Path) -> FineTuneSpec:
    dataset = write_rows(tmp_path / "dataset", COLOURS[:8], COLOURS[8:])
    return FineTuneSpec(dataset, str(save_tiny_model(tmp_path / "base")), batch_size=3)


@contextmanager
def launch(processes: int, tmp: Path, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Start the entry point under torchrun, or alone, which ends with the block."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    tmp.mkdir(exist_ok=True)
    with (tmp / "out.txt").open("w") as out, (tmp / "errors.txt").open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *(start if processes > 1 else []), TRAIN, *map(str, arguments)],
            env={**os.environ, "TMPDIR": str(tmp), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            stdout=out, stderr=errors, text=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            kill(process, *workers(process))


def workers(launcher: subprocess.Popen[str]) -> list[Any]:
    """Return the processes that torchrun started, each in a session of its own."""
    import psutil

    try:
        return psutil.Process(launcher.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill(*processes: Any) -> None:
    """Kill processes at once, which have no time to end anything."""
    for process in processes:
        with suppress(Exception):  # it has ended
            process.kill()
    for process in processes:
        process.wait(timeout=60)


def finish(processes: int, tmp: Path, *arguments: object) -> str:
    """Run a training, which must succeed; return its last line."""
    with launch(processes, tmp, *arguments) as process:
        status = process.wait(timeout=240)
    assert status == 0, (tmp / "errors.txt").read_text()[-3000:]
    return (tmp / "out.txt").read_text().splitlines()[-1]


def checkpoint(job: subprocess.Popen[str] | None, out: Path) -> int:
    """Return the step of the last complete checkpoint, or 0; the job, if given, must be running."""
    assert job is None or job.poll() is None, "it ended too early"
    last = last_checkpoint(out)
    return int(last.name.partition("-")[2]) if last else 0


def best_step(out: Path) -> int:
    """Return the step with the lowest validation loss, as the last complete checkpoint has it, or 0."""
    last = last_checkpoint(out)
    return read_object(last / "trainer_state.json").get("best_global_step") or 0 if last else 0


def validations(out: Path) -> tuple[dict[int, float], int]:
    """Return the validation loss of each step that has one, and the step with the lowest."""
    found = {line["step"]: line["valid_loss"] for line in read_log(out / "log.jsonl") if line["valid_loss"]}
    return found, min(found, key=lambda step: found[step])


def write_worsening(dataset: Path) -> Path:
    """Write rows to train on, and rows to validate on for which it soon becomes wrong; return the folder."""
    dataset.mkdir()
    for split, colours, letter in (("train", COLOURS[:4], "a"), ("valid", COLOURS[4:6], "z")):
        rows = [chat(colour) for colour in colours]
        for row in rows:
            answer = row["messages"][-1]["content"].rpartition("\n")[2]
            row["messages"][-1]["content"] = f"{letter * 150}\n{answer}"
        (dataset / f"{split}.chat.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return dataset


def losses(out: Path) -> list[tuple[int, float, float | None]]:
    return [
        (line["step"], round(line["train_loss"], 3), line["valid_loss"] and round(line["valid_loss"], 3))
        for line in read_log(out / "log.jsonl")
    ]


@needs_trl
@pytest.mark.slow
def test_two_processes_train_as_one_and_a_killed_job_goes_on_where_its_outputs_are_mounted(
    tmp_path: Path,
) -> None:
    dataset = write_rows(tmp_path / "dataset", COLOURS[:8], COLOURS[8:])
    model = save_tiny_model(tmp_path / "base")
    common = ("--dataset", dataset, "--epochs", 12, "--learning-rate", 0.02, "--batch-size", 4)
    finish(1, tmp_path / "a", *common, "--model", model, "--out", tmp_path / "alone")

    first = tmp_path / "first"
    with launch(2, tmp_path / "b", *common, "--model", model, "--out", first) as job:
        wait_for(lambda: checkpoint(job, first) >= 8)
        _, second = workers(job)
        second.kill()  # as if its machine were taken away; torchrun ends the other
        assert job.wait(timeout=60) != 0
    assert not (first / "trained.json").exists()
    kept = checkpoint(None, first)
    before = (first / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert 8 <= kept < 24

    # Another machine, another mount.
    out, base = shutil.move(first, tmp_path / "mounted"), shutil.move(model, tmp_path / "base-mounted")
    line = finish(2, tmp_path / "c", *common, "--model", base, "--out", out, "--merged", tmp_path / "m")
    assert line.startswith(f"adapter in {out}, validation loss ")
    after = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    same = [text for text in before if json.loads(text)["step"] <= kept]
    assert same and after[: len(same)] == same, "steps before the checkpoint are not repeated"
    assert losses(out) == losses(tmp_path / "alone"), "each row in the same step, whatever the processes"

    # The merged model gives what base and adapter give.
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokens = AutoTokenizer.from_pretrained(tmp_path / "m")("Which colour?", return_tensors="pt").input_ids
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path / "m")(tokens).logits
        plain = AutoModelForCausalLM.from_pretrained(base)
        untuned = plain(tokens).logits
        tuned = PeftModel.from_pretrained(plain, str(out))(tokens).logits
    assert torch.allclose(merged, tuned, atol=1e-4) and not torch.allclose(merged, untuned, atol=1e-2)

    # A job that has ended is not trained again, but a folder that lacks the merged model gets it.
    started = (out / "trained.json").stat().st_mtime_ns
    shutil.rmtree(tmp_path / "m")
    again = finish(2, tmp_path / "c", *common, "--model", base, "--out", out, "--merged", tmp_path / "m")
    assert again.startswith(line.partition(";")[0])
    assert (tmp_path / "m" / "model.safetensors").is_file()
    assert (out / "trained.json").stat().st_mtime_ns == started


@needs_trl
@pytest.mark.slow
def test_training_stops_early_also_when_killed_and_resumed_elsewhere(tmp_path: Path) -> None:
    patience = 20
    dataset, model = write_worsening(tmp_path / "dataset"), save_tiny_model(tmp_path / "base")
    arguments = ("--dataset", dataset, "--model", model, "--epochs", 80, "--learning-rate", 0.05)
    arguments += ("--patience", patience)
    first = tmp_path / "first"
    with launch(2, tmp_path / "a", *arguments, "--out", first) as job:
        wait_for(lambda: best_step(first) and checkpoint(job, first) >= best_step(first) + 5)
        kill(job, *workers(job))
    killed_at = checkpoint(None, first)

    out = shutil.move(first, tmp_path / "mounted")
    finish(2, tmp_path / "b", *arguments, "--out", out)
    validated, best = validations(out)
    assert best < killed_at < 80
    assert max(validated) == best + patience, "the count goes on after the checkpoint"
    assert (out / WEIGHTS).read_bytes() == (out / f"checkpoint-{best}" / WEIGHTS).read_bytes()
    assert read_object(out / "trained.json")["valid_loss"] == pytest.approx(validated[best], abs=1e-4)


@needs_trl
@pytest.mark.slow
def test_a_job_killed_after_its_last_step_takes_the_best_adapter_where_it_is_mounted(tmp_path: Path) -> None:
    dataset, model = write_worsening(tmp_path / "dataset"), save_tiny_model(tmp_path / "base")
    arguments = ("--dataset", dataset, "--model", model, "--epochs", 9, "--learning-rate", 0.05)
    finish(1, tmp_path / "a", *arguments, "--out", tmp_path / "first")
    out = shutil.move(tmp_path / "first", tmp_path / "mounted")
    for name in ("trained.json", WEIGHTS):
        (out / name).unlink()
    finish(1, tmp_path / "b", *arguments, "--out", out)
    validated, best = validations(out)
    assert best < max(validated) == 9
    assert (out / WEIGHTS).read_bytes() == (out / f"checkpoint-{best}" / WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    ("batch", "processes", "rows"),
    [(8, 8, 1), (8, 2, 4), (None, 1, 4), (None, 2, 2), (None, 3, 2), (None, 16, 1)],
)
def test_the_rows_of_a_step_are_divided_among_the_processes(
    batch: int | None, processes: int, rows: int
) -> None:
    assert share_batch(batch, processes) == rows


@needs_trl
def test_what_cannot_be_trained_is_said_before_anything_is_loaded(
    order: FineTuneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="--batch-size 3 cannot be shared by 4 processes: use 4"):
        train_in_job(order, tmp_path / "out")
    with pytest.raises(UserError, match=r"train\.chat\.jsonl is missing: run generate"):
        train_in_job(replace(order, dataset=tmp_path / "nothing"), tmp_path / "out")
    (order.dataset / "valid.chat.jsonl").unlink()
    with pytest.raises(UserError, match=r"--patience needs rows to validate on: .*valid\.chat\.jsonl"):
        train_in_job(replace(order, patience=2, batch_size=4), tmp_path / "out")


def test_the_outputs_of_another_training_are_left_alone(order: FineTuneSpec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "order.json").write_text(json.dumps({"key": "other"}))
    with pytest.raises(UserError, match="holds a training of other rows, model or settings"):
        train_in_job(order, out)
    assert [path.name for path in out.iterdir()] == ["order.json"]


def test_a_mistake_is_one_line(tmp_path: Path) -> None:
    arguments = ["--dataset", tmp_path, "--model", "gone", "--out", tmp_path / "out"]
    done = subprocess.run([sys.executable, TRAIN, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_a_checkpoint_that_is_not_complete_is_passed_over(tmp_path: Path) -> None:
    for step, state in ((5, "{}"), (10, '{"global_step": 10}'), (15, '{"global_st')):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    (tmp_path / "checkpoint-20").mkdir()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"


def test_patience_makes_another_training(order: FineTuneSpec) -> None:
    assert replace(order, patience=2).key != order.key
