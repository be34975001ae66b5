"""Node: the order of a training → tokens trained, dollars, and what these rest on."""

from pathlib import Path

from promptflow.core import tool

from tools.raft.backends import open_backend
from tools.raft.job import Order


@tool
def estimate_training(order: dict, backend: str) -> dict:
    """Estimate what a training takes; dollars is null where no price is known."""
    wanted = Order(**{**order, "dataset": Path(order["dataset"])})
    return open_backend(backend, wanted.model, wanted.dataset).estimate(wanted)._asdict()
