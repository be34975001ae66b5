"""Show how trainings ended: their loss curves, and the model that each made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.raft.errors import UserError

if TYPE_CHECKING:
    from tools.raft.finetune.backend import Backend, FineTuneSpec
    from tools.raft.finetune.job import JobRecord


def plot_curves(folders: Mapping[Any, Path], out: Path, console: Any) -> None:
    """Plot the loss curves of the jobs, if there are any, in losses.png."""
    from tools.raft.finetune.plot_losses import plot_losses, read_job_curve

    curves = {}
    for rate, folder in folders.items():
        if curve := read_job_curve(folder):
            curves["loss" if rate is None else f"learning rate {rate:g}"] = curve
    if curves:
        plot_losses(curves, out / "losses.png")
        console.print(f"Loss curves: {out / 'losses.png'}", markup=False)


def show_models(
    jobs: Mapping[Path, tuple[Backend, FineTuneSpec]], records: Mapping[Path, JobRecord], console: Any
) -> None:
    """Print how each job ended and the name of its model. Raise UserError if any job failed."""
    failed = []
    for folder, record in records.items():
        if record["state"] in ("failed", "cancelled"):
            reason = f": {record['message']}" if record["message"] else ""
            failed.append(f"job {record['job']} {record['state']}{reason}")
        elif record["state"] == "succeeded":
            console.print(_describe_model(jobs[folder][0], record), markup=False)
        else:
            line = f"Job {record['job']}: {record['state']}; run the same command again to follow it"
            console.print(line, markup=False)
    if failed:
        raise UserError("; ".join(failed))


def _describe_model(service: Any, record: JobRecord) -> str:
    """Return a line with the name of a tuned model and how to use it."""
    model, connection = record["result"]["model"], record["result"]["connection"]
    if service.name != "openai":
        return f"Model: {model}" + (f", connection {connection}" if connection else "")
    if service.azure:
        how = "" if service.deployment else "; the same command with --deploy deploys it, billed hourly"
        return f"Model: {model}{how}"
    endpoint = service.endpoint
    return f"Model: {model}; use it with --connection {endpoint.name or endpoint.base_url}:{model}"
