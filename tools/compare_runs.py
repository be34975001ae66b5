"""Node: two runs of the evaluation flow → their paired differences, as metrics, and the report."""

from promptflow.core import log_metric, tool

from tools.batch_runs import find_scored_run
from tools.raft.errors import UserError
from tools.raft.evaluate import compare_runs as comparing
from tools.raft.models.pricing import load_prices
from tools.run_folder import run_folder


@tool
def compare_runs(baseline: list, raft: list, dataset: list, out: list) -> dict:
    """Compare two runs by name or folder, log the differences, and write the report to the folder `out`."""
    folder, names = run_folder("out", out), sorted({*zip(baseline, raft, strict=True)})
    if folder is None or len(names) != 1:
        raise UserError("every line must name the same two runs, and the absolute path of one folder as out")
    runs = [find_scored_run(name) for name in names[0]]
    trained_on = run_folder("dataset", dataset)
    result = comparing.compare_runs(runs, folder, prices=load_prices(None), dataset=trained_on)
    for name, value in comparing.difference_metrics(result.comparison).items():
        log_metric(name, value)
    return {"report": str(result.report), "warnings": result.comparison["warnings"]}
