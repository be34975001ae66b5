"""Node: the scores of all questions → the metrics of the run."""

from promptflow.core import log_metric, tool

from tools.raft.evaluate.retrieval_metrics import average_scores as average


@tool
def average_scores(scores: list, lines: list) -> dict:
    """Average each metric over the questions and log it; failed lines count as missing."""
    metrics = average(scores, max(lines, default=0))
    for name, value in metrics.items():
        log_metric(name, value)
    return metrics
