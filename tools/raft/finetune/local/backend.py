"""Fine-tune on this machine: a LoRA adapter for a GGUF or a Hugging Face model, on CPU or one GPU.

The training runs in a child process, `python -m tools.raft.finetune.local.backend`, which ends together with
its parent, however that ends; the next run resumes it from its last checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...child import exit_with_parent, start_child
from ...dataset.student import open_student
from ...errors import UserError, one_line
from ...files import read_object, write_json
from ...models.weights import ORDER
from ..backend import CONFIG, GGUF, WEIGHTS, Estimate, FineTuneSpec, Result, State, Status, refuse_pairs
from ..lengths import Lengths, refuse_long
from ..training_files import check_files
from .estimate import TrainingTime, measure_training, to_estimate
from .load import load_training, resolve_base
from .log import read_status
from .rows import measure_rows
from .train import LOG, Step, TrainingResult, train_adapter

MEASURE = "--measure"  # argument of the child process that only measures
CANCELLED = "cancelled"  # the error in the trained.json of a cancelled job
# Threads that spin while they wait slow each other down as soon as anything else runs.
THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "20000"}
PORT = 8082  # where the tuned model is served; the base model is at 8081


class LocalBackend:
    """The backend `local`: it trains on this machine and keeps its files in `folder`."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker: subprocess.Popen[str] | None = None
        self._estimated: tuple[str, Estimate] | None = None  # the key of a spec and its estimate

    def check(self, spec: FineTuneSpec, *, skip_long: bool = False) -> Lengths:
        """Raise UserError if the model is missing or the dataset must not be trained on."""
        refuse_pairs(spec, self.name)
        resolve_base(spec)
        check_files(spec, hosted=False)
        lengths = measure_rows(spec, open_student(spec.model))
        if not skip_long:
            refuse_long(lengths)
        return lengths

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Time some training steps in a child process, and fit the epochs to the spec's minutes.

        The estimate of a spec that was submitted in this folder is kept: a resumed training has its epochs.
        Tokens count a prefix shared by rows once; the cost is zero.
        """
        kept = read_object(self._folder / ORDER)
        if kept.get("key") == spec.key and kept.get("estimate"):
            return Estimate(**kept["estimate"])
        if self._estimated is None or self._estimated[0] != spec.key:
            self._estimated = spec.key, to_estimate(spec, _measure_in_child(spec))
        return self._estimated[1]

    def check_life(self, spec: FineTuneSpec) -> None:
        """Do nothing: a model on this machine stays."""

    def sign_in(self) -> None:
        """Do nothing: no service is called."""

    def find(self, spec: FineTuneSpec) -> str | None:
        """Return the job of the spec if it was started in this folder."""
        return spec.key if read_object(self._folder / ORDER).get("key") == spec.key else None

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Start the training in a child process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stale = ["trained.json"] if self.find(spec) else ["trained.json", "checkpoint.safetensors", LOG]
        for name in stale:
            (self._folder / name).unlink(missing_ok=True)
        # Without a budget nothing depends on the estimate, and whoever did not ask for it does not wait.
        asked = spec.minutes is not None or self._estimated is not None
        estimate = self.estimate(spec)._asdict() if asked else None
        order = {**_to_settings(spec), "key": spec.key, "estimate": estimate}
        write_json(self._folder / ORDER, order, indent=1)
        on_step(f"training in {self._folder}")
        self._start()
        return spec.key

    def status(self, job: str) -> Status:
        """Return the status of the job, resuming it if its process ended with an earlier run."""
        status, outcome = read_status(self._folder / LOG), read_object(self._folder / "trained.json")
        state: State = "running"
        message = str(outcome.get("error", ""))
        if outcome:
            state = "cancelled" if message == CANCELLED else "failed" if message else "succeeded"
        elif self._worker is None:
            self._start()
        elif self._worker.poll() is not None and not read_object(self._folder / "trained.json"):
            state = "failed"
            message = f"the training process ended unexpectedly: see {self._folder / 'train.err'}"
        elif status["step"] is None:
            message = "loading the model, then the first step"
        elif status["step"] == status["steps"]:
            message = "writing the adapter"
        return {**status, "state": state, "message": message}

    def cancel(self, job: str) -> None:
        """Stop the training; its last checkpoint is kept."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
        write_json(self._folder / "trained.json", {"error": CANCELLED})

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Return the adapter, its GGUF form and the log, and write a connection for the served model."""
        trained = read_object(self._folder / "trained.json")
        connection = out / "connection.yaml"
        connection.write_text(
            f"# Written by finetune: the tuned model, once it is served at port {PORT} of this machine.\n"
            f"name: raft\ntype: open_ai\napi_key: none-needed\nbase_url: http://127.0.0.1:{PORT}/v1\n",
            encoding="utf-8",
        )
        metrics = {key: trained[key] for key in ("valid_loss", "tokens", "seconds") if trained.get(key)}
        names = (GGUF, CONFIG, WEIGHTS, LOG)
        files = [name for name in names if (self._folder / name).exists()]
        return Result(model=str(trained["model"]), connection=connection, files=files, metrics=metrics)

    def _start(self) -> None:
        with (self._folder / "train.err").open("w", encoding="utf-8") as errors:
            self._worker = start_child(
                "tools.raft.finetune.local.backend",
                str(self._folder.resolve()),
                env={**THREADS, **os.environ},
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )


def train_from_spec(
    spec: FineTuneSpec, folder: Path, on_step: Callable[[Step], None] = lambda step: None
) -> TrainingResult:
    """Train the adapter of a spec into `folder`, and export it to folder/adapter.gguf if possible.

    If the spec's model is the folder of an earlier job, training continues from that job's adapter. Defaults:
    learning rate 5e-4, rank 16 or the earlier adapter's, 4 rows per step. Raises UserError, as the check of
    the spec does, naming rows that are longer than the model's context.
    """
    from .export_gguf import can_export, export_adapter
    from .lora import read_adapter

    base, start, _ = resolve_base(spec)
    model, train, valid, config = load_training(spec)
    pairs = read_adapter(start, base) if start else None
    result = train_adapter(model, train, valid, folder, config, start=pairs, on_step=on_step)
    if can_export(base):
        export_adapter(folder, folder / GGUF, base=base)
    return result


def _to_settings(spec: FineTuneSpec) -> dict[str, Any]:
    """Return the fields of a spec as JSON, its paths valid in any working directory."""
    model = str(Path(spec.model).resolve()) if Path(spec.model).exists() else spec.model
    return {**asdict(spec), "dataset": str(spec.dataset.resolve()), "model": model}


def _from_settings(settings: dict[str, Any]) -> FineTuneSpec:
    names = FineTuneSpec.__dataclass_fields__
    fields = {name: value for name, value in settings.items() if name in names}
    return FineTuneSpec(**{**fields, "dataset": Path(settings["dataset"])})


def _measure_in_child(spec: FineTuneSpec) -> TrainingTime:
    """Measure a training in a child process, so that its memory is free again afterwards."""
    child = start_child(
        "tools.raft.finetune.local.backend",
        MEASURE,
        json.dumps(_to_settings(spec)),
        env={**THREADS, **os.environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        assert child.stdout is not None
        last = (child.stdout.read().strip().splitlines() or ["it ended without a word"])[-1]
    finally:
        child.kill()
        child.communicate()
    try:
        measured = json.loads(last)
    except ValueError:
        raise UserError(f"the training could not be tried: {one_line(last)}") from None
    if "error" in measured:
        raise UserError(measured["error"])
    return TrainingTime(**measured)


def _main(folder: Path) -> None:
    """Train the spec in ORDER and write trained.json."""
    order = read_object(folder / ORDER)
    spec = _from_settings(order)
    if fitted := (order.get("estimate") or {}).get("epochs"):
        spec = replace(spec, epochs=fitted)
    try:
        result = train_from_spec(spec, folder)
        outcome = {**asdict(result), "folder": str(result.folder), "model": resolve_base(spec)[0].stem}
    except UserError as error:
        outcome = {"error": str(error)}
    write_json(folder / "trained.json", outcome)


def _measure(settings: dict[str, Any]) -> None:
    """Measure a training and print the result as one line of JSON."""
    started = time.monotonic()
    try:
        outcome = asdict(measure_training(*load_training(_from_settings(settings)), started=started))
    except UserError as error:
        outcome = {"error": str(error)}
    print(json.dumps(outcome), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    exit_with_parent()  # however that ends
    if sys.argv[1] == MEASURE:
        _measure(json.loads(sys.argv[2]))
    else:
        _main(Path(sys.argv[1]))
