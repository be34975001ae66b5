"""Node: the scores of all answers → the metrics of the run."""

from promptflow.core import log_metric, tool

from tools.raft.evaluate.metrics import average_metrics as average


@tool
def average_metrics(scores: list, lines: list) -> dict:
    """Average and log each metric, with the number of answers that have it and that miss it."""
    metrics = average(scores, max(lines, default=0))
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics
