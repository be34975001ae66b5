"""Node: names of metrics → which metrics are selected, and whether a judge is needed."""

from promptflow.core import tool

from tools.raft.evaluate.metrics import choose_metrics as choose


@tool
def choose_metrics(select_metrics: str) -> dict:
    """Parse the names: `all` selects those that need no judge, `judge` those that do, a name only itself."""
    return choose(select_metrics)
