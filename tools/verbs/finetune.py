"""finetune: a dataset → a tuned model, here, in Azure ML, or at an endpoint with OpenAI's protocol."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.raft.errors import UserError
from tools.raft.finetune.backend import Api
from tools.raft.finetune.job import BackendName

if TYPE_CHECKING:
    from tools.raft.finetune.backend import Backend, FineTuneSpec, Status
    from tools.raft.finetune.job import JobRecord

SEEN = "metrics.jsonl"  # what was seen at each look at a job


def finetune(
    dataset: Annotated[Path, typer.Option(help="Folder that `generate` left.", metavar="DIR")],
    backend: Annotated[BackendName, typer.Option(help="Where the training runs.")],
    model: Annotated[
        str, typer.Option(help="Base model, in the backend's terms; local: or an earlier --out, to go on.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the record of the job and what comes of it.")],
    connection: Annotated[str, typer.Option(help="openai: the connection; `openai` if not given.")] = "",
    base_url: Annotated[str, typer.Option(help="openai: in place of one; key in RAFT_API_KEY.")] = "",
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(min=0, help="Several: one job each. openai: learning_rate_multiplier."),
    ] = None,
    epochs: Annotated[float, typer.Option(min=0, help="Times the rows are seen (n_epochs).")] = 3,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows a step; else the backend's.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="local: rank of the LoRA adapter.")] = None,
    format: Annotated[Api, typer.Option(help="Which files of the dataset; dsf has no documents.")] = "chat",
    seed: Annotated[int, typer.Option(help="Of the training.")] = 42,
    suffix: Annotated[str, typer.Option(help="Of the tuned model's name.")] = "raft",
    deploy: Annotated[
        bool, typer.Option("--deploy", help="azure-ml: with an endpoint, paid by hour.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before money is spent.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate; nothing is sent.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the jobs to their end.")] = True,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the jobs recorded in --out.")] = False,
    poll: Annotated[float, typer.Option(min=0.01, help="Seconds between two looks at a job.")] = 30.0,
) -> None:
    """Fine-tune a model on a dataset, and follow the job to its end.

    [bold]Examples[/bold]

      python -m tools finetune --dataset out --out tuned --backend openai --model gpt-4o-mini --dry-run
      python -m tools finetune --dataset out --out tuned --backend local --model embedded
      python -m tools finetune --dataset more --out tuned-on --backend local --model tuned
      python -m tools finetune --dataset out --out sweep --backend openai --model gpt-4o-mini
      --learning-rate 0.5 --learning-rate 2 --yes

    Interrupt it, and the job goes on: the same command follows it again, and submits nothing twice.
    Exit status: 0 all well, 1 a mistake or a job that failed, 130 interrupted.
    """
    from rich.console import Console

    from tools.connections import lookup
    from tools.raft.finetune.backend import FineTuneSpec
    from tools.raft.finetune.job import open_backend, run_job, sweep_folders

    console = Console(highlight=False, soft_wrap=True)
    rates: list[float | None] = [*(learning_rate or [])] or [None]
    if len(set(rates)) < len(rates):
        raise UserError("--learning-rate: the same rate stands there twice")
    folders = sweep_folders(out, rates)  # type: ignore[arg-type]
    specs = {
        folder: FineTuneSpec(
            dataset=dataset, model=model, api=format, epochs=epochs, learning_rate=rate,
            batch_size=batch_size, rank=rank, seed=seed, suffix=suffix,
        )
        for rate, folder in folders.items()
    }  # fmt: skip
    jobs: dict[Path, tuple[Backend, FineTuneSpec]] = {}
    for folder, spec in specs.items():
        service = open_backend(
            backend,
            model,
            folder,
            connection=connection,
            base_url=base_url,
            deploy=deploy,
            lookup=lookup,
        )
        jobs[folder] = service, spec
    if backend == "local" and not wait:
        raise UserError("--no-wait: a training on this machine ends with this command; leave it out")
    if cancel:
        _cancel(jobs, console)
        return
    for service, spec in jobs.values():
        service.check(spec)
        if not dry_run:
            service.sign_in()  # better known now than after the yes
    _ask(jobs, console, yes=yes, dry_run=dry_run, paid=backend != "local")
    if dry_run:
        return
    records: dict[Path, JobRecord] = {}
    try:
        with _following(jobs) as show:
            # All of a sweep is submitted first; on this machine one runs after the other.
            for first in [True, False] if wait and backend != "local" else [not wait]:
                for folder, (service, spec) in jobs.items():
                    if folder in records and records[folder]["state"] in ("failed", "cancelled"):
                        continue  # run_job would submit it again
                    records[folder] = run_job(
                        service, spec, folder, wait=not first, poll=poll, on_status=show(folder)
                    )
    except KeyboardInterrupt:
        if backend == "local":
            raise
        told = "stopped waiting, the jobs go on: run the same command again to follow, with --cancel to stop"
        print(told, file=sys.stderr)
        raise typer.Exit(130) from None
    _plot(folders, out, console)
    _finish(jobs, records, console)


def _ask(
    jobs: Mapping[Path, tuple[Backend, FineTuneSpec]], console: Any, *, yes: bool, dry_run: bool, paid: bool
) -> None:
    """Say what the jobs will take, and get a yes for those that will be submitted now."""
    from tools.raft.finetune.job import read_record
    from tools.raft.models.pricing import show_dollars

    total: float | None = 0.0
    new = 0
    for folder, (service, spec) in jobs.items():
        estimate = service.estimate(spec)
        record = read_record(folder)
        under_way = record is not None and record["state"] not in ("failed", "cancelled")
        new += not under_way
        if not under_way:
            total = None if total is None or estimate.dollars is None else total + estimate.dollars
        rate = "" if spec.learning_rate is None else f", learning rate {spec.learning_rate:g}"
        price = "" if not paid else f", {show_dollars(estimate.dollars, spec.model)}"
        state = f" ({record['state']} already)" if under_way and record else ""
        console.print(
            f"{spec.model}, {spec.epochs:g} epochs{rate}: about {estimate.tokens:,} tokens trained{price} "
            f"({estimate.basis}){state}",
            markup=False,
        )
    if not (new and paid) or dry_run or yes:
        return
    if not sys.stdin.isatty():
        raise UserError("this costs money, and nobody is there to say yes: look at --dry-run, then add --yes")
    amount = "an unknown amount" if total is None else f"about ${total:,.2f}"
    if not typer.confirm(f"Submit {new} job{'s' * (new > 1)} for {amount}?"):
        raise UserError("nothing was submitted")


@contextmanager
def _following(jobs: Mapping[Path, tuple[Backend, FineTuneSpec]]) -> Iterator[Any]:
    """Show a bar a job; each look at it is also kept in its folder, for the curves."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, transient=True, refresh_per_second=4) as bar:
        tasks = {folder: bar.add_task(folder.name, total=None) for folder in jobs}

        def show(folder: Path) -> Any:
            def on_status(status: Status) -> None:
                losses = " ".join(f"{name} {value:.3f}" for name, value in status["metrics"].items())
                told = " · ".join(filter(None, (folder.name, status["state"], losses, status["message"])))
                bar.update(
                    tasks[folder], description=told, completed=status["step"] or 0, total=status["steps"]
                )
                if status["step"] is not None and status["metrics"]:
                    with (folder / SEEN).open("a", encoding="utf-8") as file:
                        file.write(json.dumps({"step": status["step"], **status["metrics"]}) + "\n")

            return on_status

        yield show


def _cancel(jobs: Mapping[Path, tuple[Backend, FineTuneSpec]], console: Any) -> None:
    """Cancel each job that has a record and has not ended."""
    from tools.raft.finetune.backend import ENDED
    from tools.raft.finetune.job import read_record, run_job

    for folder, (service, spec) in jobs.items():
        record = read_record(folder)
        job = (record["job"] if record else "") or (service.find(spec) or "" if record else "")
        if record is None or not job:
            raise UserError(f"{folder} has no record of a job: nothing to cancel")
        if record["state"] in ENDED:
            console.print(f"{job} has {record['state']} already", markup=False)
            continue
        service.cancel(job)
        ended = run_job(service, spec, folder, wait=False)
        console.print(f"Job {job}: {ended['state']}; its record is {folder / 'job.json'}", markup=False)


def _plot(folders: Mapping[Any, Path], out: Path, console: Any) -> None:
    from tools.raft.finetune.plot_losses import plot_losses, read_curve

    curves = {}
    for rate, folder in folders.items():
        # What the backend logged, openai and local, else what was seen at each look.
        names = ("events.jsonl", "log.jsonl", SEEN)
        curve = next(filter(None, (read_curve(folder / name) for name in names)), None)
        if curve:
            curves["loss" if rate is None else f"learning rate {rate:g}"] = curve
    if curves:
        plot_losses(curves, out / "losses.png")
        console.print(f"Loss curves: {out / 'losses.png'}", markup=False)


def _finish(
    jobs: Mapping[Path, tuple[Backend, FineTuneSpec]], records: Mapping[Path, JobRecord], console: Any
) -> None:
    """Say of each job how it ended, and how its model is called; the worst decides the exit status."""
    failed = []
    for folder, record in records.items():
        if record["state"] in ("failed", "cancelled"):
            why = f": {record['message']}" if record["message"] else ""
            failed.append(f"job {record['job']} {record['state']}{why}")
        elif record["state"] == "succeeded":
            console.print(_called(jobs[folder][0], record), markup=False)
        else:
            told = f"Job {record['job']}: {record['state']}; run the same command again to follow it"
            console.print(told, markup=False)
    if failed:
        raise UserError("; ".join(failed))


def _called(service: Any, record: JobRecord) -> str:
    """Say the name of a tuned model, and how to ask it."""
    model, connection = record["result"]["model"], record["result"]["connection"]
    if service.name != "openai":
        return f"Model: {model}" + (f", connection {connection}" if connection else "")
    if service.azure:
        return (
            f"Model: {model}; deploy it in Azure OpenAI first (an hourly price), then ask "
            f"{service.endpoint.name or 'azure_openai'}:DEPLOYMENT"
        )
    endpoint = service.endpoint
    return f"Model: {model}; ask it with --connection {endpoint.name or endpoint.base_url}:{model}"
