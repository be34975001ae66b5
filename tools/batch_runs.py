"""The bridge to promptflow's batch runs: a name → the folders of the run and of the one that it scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.connections import renew_lock
from tools.raft.errors import UserError
from tools.raft.evaluate.batch_runs import is_run
from tools.raft.evaluate.compare_runs import ScoredRun


def find_scored_run(name: str) -> ScoredRun:
    """Find a run of the evaluation flow, by its name in promptflow or by its folder.

    A folder does not show which answers were scored: SCORES:ANSWERS names the folders of both runs.
    Raises UserError if there is no such run, or if it has not come to its end.
    """
    if is_run(Path(name)):
        return ScoredRun(Path(name).name, Path(name))
    for position in (i for i, character in enumerate(name) if character == ":"):
        scores, answers = Path(name[:position]), Path(name[position + 1 :])
        if is_run(scores) and is_run(answers):
            return ScoredRun(answers.name, scores, answers)
    run = _find_run(name)
    scored = _find_run(getattr(run.run, "name", run.run)) if run.run else None
    return ScoredRun(name, run._output_path, scored._output_path if scored else None)


def _find_run(name: str) -> Any:
    from promptflow._sdk._errors import RunNotFoundError
    from promptflow.client import PFClient

    renew_lock()
    try:
        run = PFClient().runs.get(name)
    except RunNotFoundError:
        raise UserError(f"promptflow has no run {name!r}: see `pf run list`") from None
    if run.status != "Completed":
        raise UserError(f"run {name} is {run.status}, not Completed")
    return run
