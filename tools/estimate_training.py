"""Node: a fine-tuning spec → tokens trained, cost in dollars, and the basis of the estimate."""

from pathlib import Path

from promptflow.core import tool

from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend


@tool
def estimate_training(spec: dict, backend: str) -> dict:
    """Estimate the tokens and the cost of the training; dollars is null if no price is known."""
    parsed = FineTuneSpec(**{**spec, "dataset": Path(spec["dataset"])})
    service = open_backend(backend, parsed.model, parsed.dataset, training_type=parsed.training_type)
    return service.estimate(parsed)._asdict()
