"""Node: two runs of the evaluation flow → their paired differences, as metrics, and the report."""

from pathlib import Path

from promptflow.core import log_metric, tool

from tools.raft.errors import UserError
from tools.raft.evaluate import compare_runs as comparing
from tools.raft.models.pricing import load_prices
from tools.run_folder import run_folder


@tool
def compare_runs(runs: list, dataset: list, out: list) -> dict:
    """Compare the runs that `find_runs` returns, log the differences, and write the report to `out`."""
    folder = run_folder("out", out)
    if folder is None or any(pair != runs[0] for pair in runs):
        raise UserError("every line must name the same two runs, and the absolute path of one folder as out")
    pair = [
        comparing.ScoredRun(
            run["name"], Path(run["evaluation"]), Path(run["answers"]) if run["answers"] else None
        )
        for run in runs[0]
    ]
    trained_on = run_folder("dataset", dataset)
    result = comparing.compare_runs(pair, folder, prices=load_prices(None), dataset=trained_on)
    for name, value in comparing.difference_metrics(result.comparison).items():
        log_metric(name, value)
    return {"report": str(result.report), "warnings": result.comparison["warnings"]}
