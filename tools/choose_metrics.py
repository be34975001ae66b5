"""Node: names of metrics → which are wanted, and whether a judge is."""

from promptflow.core import tool

from tools.raft.evaluate.metrics import choose_metrics as choose


@tool
def choose_metrics(select_metrics: str) -> dict:
    """Read the names: `all` that need no judge, `judge` for all that do, or single ones."""
    return choose(select_metrics)
