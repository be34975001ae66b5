"""Train with TRL in several processes, on the GPUs of one machine or of many; each calls `train_in_job`.

torchrun starts them, or Azure ML for a job with `distribution: {type: pytorch}`: both set RANK, LOCAL_RANK,
WORLD_SIZE, MASTER_ADDR and MASTER_PORT ("Process group initialization" in
https://learn.microsoft.com/azure/machine-learning/how-to-train-distributed-gpu, of 2024-01-29).
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from ...errors import UserError
from ...files import hash_file, json_line, read_object, write_json
from ...models.weights import ORDER
from ...records import content_id
from ..backend import CONFIG, GGUF, FineTuneSpec
from ..job import check_spec
from ..leave_out import SKIPPED
from ..local.train import LOG
from .backend import CACHE, TrlBackend, last_checkpoint, prepare
from .config import CONFIG_FILE, OUTCOME


class Process(NamedTuple):
    """The place of this process among those of the job."""

    rank: int
    local_rank: int  # on its machine
    processes: int  # of the whole job


def this_process() -> Process:
    """Return the place of this process, from the environment; alone if nothing has started several."""
    rank, local_rank, processes = (
        int(os.environ.get(name, default))
        for name, default in (("RANK", "0"), ("LOCAL_RANK", "0"), ("WORLD_SIZE", "1"))
    )
    return Process(rank, local_rank, processes)


def train_in_job(
    spec: FineTuneSpec, out: Path, *, merged: Path | None = None, skip_long: bool = False
) -> str | None:
    """Train the adapter of a spec into `out`, from the last complete checkpoint there; return the last line.

    `out` is a folder that all machines share, as is `merged`, which gets the model with the adapter merged
    into it. The process of rank 0 writes them, and it alone returns a line. A job that has ended is not
    trained again. Raises UserError, in every process, for what cannot be trained and for an `out` that holds
    another training.
    """
    process = this_process()
    key = _key(spec)
    out.mkdir(parents=True, exist_ok=True)
    if read_object(out / ORDER).get("key", key) != key:
        raise UserError(f"{out} holds a training of other rows, model or settings: name an empty folder")
    # Rows and configuration are on each machine's own disk: shared storage is slower, and may not append.
    scratch = Path(tempfile.gettempdir()) / f"raft-{content_id(key, str(out), str(process.processes))}"
    os.environ["HF_DATASETS_CACHE"] = str(scratch / CACHE)  # read when `datasets` is imported
    if not (out / OUTCOME).is_file():
        _prepare_once(spec, scratch, out, process, skip_long=skip_long)
        if process.rank == 0:
            write_json(scratch / ORDER, {"key": key, **dataclasses.asdict(spec)})
            _copy(scratch, out, ORDER, CONFIG_FILE, SKIPPED)
            _copy(out, scratch, LOG)
        _train(scratch, out, spec)
        if process.rank == 0:
            _copy(scratch, out, LOG, GGUF, OUTCOME)
        if process.local_rank == 0:
            shutil.rmtree(scratch, ignore_errors=True)
    if process.rank != 0:
        return None
    loss = read_object(out / OUTCOME).get("valid_loss")
    made = f"adapter in {out}" + ("" if loss is None else f", validation loss {loss:.4f}")
    if merged is not None:
        _merge_once(spec, out, merged, key)
        made += f"; merged model in {merged}"
    return made


def _key(spec: FineTuneSpec) -> str:
    """Return a key of a spec that does not depend on where its model is mounted."""
    model = Path(spec.model)
    if (model / "config.json").is_file():
        return dataclasses.replace(spec, model=hash_file(model / "config.json")).key
    return dataclasses.replace(spec, model=model.name).key if model.is_file() else spec.key


def _prepare_once(spec: FineTuneSpec, scratch: Path, out: Path, process: Process, *, skip_long: bool) -> None:
    """Check the spec and write rows and configuration; of the processes of a machine, the first one does."""
    from filelock import FileLock

    scratch.mkdir(parents=True, exist_ok=True)
    with FileLock(scratch / "lock"):
        prepared = read_object(scratch / "prepared.json")
        # Another run of this job may have found the same files elsewhere.
        mounts = {"dataset": str(spec.dataset), "model": spec.model}
        if prepared != mounts:
            checked, _ = check_spec(TrlBackend(scratch), spec, scratch, skip_long=skip_long)
            prepare(checked, scratch, out=out, processes=process.processes)
            write_json(scratch / "prepared.json", mounts)


def _train(scratch: Path, out: Path, spec: FineTuneSpec) -> None:
    from .train import train

    checkpoint = last_checkpoint(out)
    resume = ["--resume_from_checkpoint", str(checkpoint)] if checkpoint else []
    train(scratch, resume, patience=spec.patience)


def _merge_once(spec: FineTuneSpec, out: Path, merged: Path, key: str) -> None:
    """Write the merged model with its GGUF adapter, unless an earlier run has written all of it."""
    from .merge import merge_adapter

    if read_object(merged / OUTCOME).get("key") == key:
        return
    if not (out / CONFIG).is_file():
        raise UserError(f"{out} has lost its adapter, {CONFIG}: train again in an empty folder")
    merge_adapter(spec.model, out, merged)
    _copy(out, merged, GGUF)
    # Last, as the sign that all is there; written in place, as mounted storage may not rename.
    (merged / OUTCOME).write_text(json_line({"key": key}), encoding="utf-8")


def _copy(source: Path, target: Path, *names: str) -> None:
    """Copy those of the files that exist, written from start to end, as any mounted storage allows."""
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
