"""Node: two names → the folders of these evaluation runs, and of the runs whose answers they scored."""

from promptflow.core import tool

from tools.batch_runs import find_scored_run


@tool
def find_runs(baseline: str, raft: str) -> list:
    """Find both runs, by name or folder; return for each its "name", "evaluation" and "answers" folder."""
    runs = [find_scored_run(name) for name in (baseline, raft)]
    return [
        {"name": run.name, "evaluation": str(run.evaluation), "answers": str(run.answers or "")}
        for run in runs
    ]
