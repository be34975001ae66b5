"""Node: the spec of a training and a yes → the record of its job."""

from pathlib import Path

from promptflow.core import tool

from tools.connections import lookup
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend, run_job


@tool
def submit_training(
    spec: dict, estimate: dict, backend: str, connection: str, submit: bool, out: str, wait: bool = False
) -> dict:
    """Submit, or look at what was submitted before; without `submit` nothing is sent."""
    if not submit:
        return {"state": "not submitted", "estimate": estimate}
    if not Path(out).is_absolute():  # promptflow runs a copy of this folder, and throws it away
        raise UserError("out: an absolute path, where the record of the job is kept")
    wanted = FineTuneSpec(**{**spec, "dataset": Path(spec["dataset"])})
    folder = Path(out)
    service = open_backend(backend, wanted.model, folder, connection=connection, lookup=lookup)
    return {**run_job(service, wanted, folder, wait=wait)}
