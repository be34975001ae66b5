"""Training in several processes: the rows are divided, a killed job goes on, and what does not improve stops."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.finetune.trl.test_backend import COLOURS, needs_trl, spec, wait_for, write_rows  # noqa: F401
from tests.tiny import save_tiny_model
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, read_log, read_object
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.trl.backend import TrlBackend, last_checkpoint
from tools.raft.finetune.trl.cluster import train_in_job
from tools.raft.finetune.trl.config import share_batch

TRAIN = str(PROJECT / "deploy" / "finetune" / "train.py")


def launch(processes: int, tmp: Path, *arguments: object) -> subprocess.Popen[str]:
    """Start the entry point under torchrun, or alone, in a session of its own."""
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    tmp.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, *(start if processes > 1 else []), TRAIN, *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(tmp), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a training, which must succeed; return its last line."""
    out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors[-3000:]
    return out.splitlines()[-1]


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
    finish(launch(1, tmp_path / "a", *common, "--model", model, "--out", tmp_path / "alone"))

    first = tmp_path / "first"
    job = launch(2, tmp_path / "b", *common, "--model", model, "--out", first)
    wait_for(lambda: (last := last_checkpoint(first)) is not None and int(last.name[11:]) >= 8)
    workers = subprocess.run(
        ["pgrep", "-P", str(job.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(workers) == 2
    os.kill(int(workers[1]), signal.SIGKILL)  # a process of a machine that is taken away; torchrun ends the other
    job.communicate(timeout=60)
    assert job.returncode != 0 and not (first / "trained.json").exists()
    kept = int(last_checkpoint(first).name[11:])  # type: ignore[union-attr]
    before = (first / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert 8 <= kept < 24

    # Another machine, another mount.
    out, base = shutil.move(first, tmp_path / "mounted"), shutil.move(model, tmp_path / "base-mounted")
    line = finish(launch(2, tmp_path / "c", *common, "--model", base, "--out", out, "--merged", tmp_path / "m"))
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
    again = finish(launch(2, tmp_path / "c", *common, "--model", base, "--out", out, "--merged", tmp_path / "m"))
    assert again.startswith(line.partition(";")[0])
    assert (tmp_path / "m" / "model.safetensors").is_file()
    assert (out / "trained.json").stat().st_mtime_ns == started
