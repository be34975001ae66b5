"""Node: the spec of a training → tokens trained, dollars, and what these rest on."""

from pathlib import Path

from promptflow.core import tool

from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend


@tool
def estimate_training(spec: dict, backend: str) -> dict:
    """Estimate what a training takes; dollars is null where no price is known."""
    wanted = FineTuneSpec(**{**spec, "dataset": Path(spec["dataset"])})
    return open_backend(backend, wanted.model, wanted.dataset).estimate(wanted)._asdict()
