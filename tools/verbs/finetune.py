"""finetune: a dataset → a tuned model, on this machine, in Azure ML or at an OpenAI-compatible endpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.raft.choices import (
    ON_THIS_MACHINE,
    BackendName,
    DeploymentType,
    Form,
    Method,
    Quantization,
    Trainer,
    TrainingType,
)
from tools.raft.errors import UserError
from tools.raft.files import json_line
from tools.verbs.options import MlflowOption, Prices

if TYPE_CHECKING:
    from tools.raft.finetune.backend import Backend, FineTuneSpec, Status
    from tools.raft.finetune.job import JobRecord
    from tools.raft.finetune.lengths import Lengths


def finetune(
    dataset: Annotated[Path, typer.Option(help="Folder that `generate` wrote.", metavar="DIR")],
    model: Annotated[
        str, typer.Option(help="Base model as the backend names it; local: or an earlier --out, to continue.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the job record and the results.")],
    backend: Annotated[BackendName | None, typer.Option(help="Where the training runs.")] = None,
    export: Annotated[
        Trainer | None,
        typer.Option(help="Instead of training: write dataset and configuration for this tool into --out."),
    ] = None,
    connection: Annotated[str, typer.Option(help="openai: the connection; `openai` by default.")] = "",
    base_url: Annotated[
        str, typer.Option(help="openai: URL instead of a connection; key in RAFT_API_KEY.")
    ] = "",
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(min=0, help="May be repeated, one job each. openai: learning_rate_multiplier."),
    ] = None,
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the training rows (n_epochs).")] = 3,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="local: cut the epochs down to what fits into this time.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Rows per step; by default the backend's.")
    ] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="local, trl: rank of the LoRA adapter.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="trl: validations without a lower loss before it stops.")
    ] = None,
    quantize: Annotated[
        Quantization, typer.Option(help="trl: load the base model in 4 or 8 bits (4bit: QLoRA).")
    ] = "none",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="trl, --export: a setting of the tool; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    format: Annotated[
        Form, typer.Option(help="Which files of the dataset to use; dsf has no documents.")
    ] = "chat",
    method: Annotated[
        Method, typer.Option(help="sft: on answers; dpo: on the pairs of --format dpo (trl, openai).")
    ] = "sft",
    beta: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="dpo: the higher, the closer to the model before; trl 0.1, else the host's."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 42,
    skip_long: Annotated[
        bool, typer.Option("--skip-long", help="Leave out rows longer than the model takes.")
    ] = False,
    suffix: Annotated[str, typer.Option(help="Suffix of the tuned model's name.")] = "raft",
    training_type: Annotated[
        TrainingType | None,
        typer.Option(
            help="openai at Azure: tier of the training; developer: half price; in v1 global by default."
        ),
    ] = None,
    deploy: Annotated[
        bool, typer.Option("--deploy", help="azure-ml, openai at Azure: deploy the model, billed hourly.")
    ] = False,
    deployment_type: Annotated[
        DeploymentType,
        typer.Option(
            help="openai at Azure: tier of --deploy; developer: no hourly price, ends after 24 hours."
        ),
    ] = "global",
    capacity: Annotated[
        int | None,
        typer.Option(min=1, help="openai at Azure: of --deploy, in thousands of tokens a minute; 100."),
    ] = None,
    undeploy: Annotated[
        bool, typer.Option("--undeploy", help="openai at Azure: delete the deployment; the model stays.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before spending money or much time.")
    ] = False,
    max_cost: Annotated[
        float | None,
        typer.Option(min=0, help="Submit nothing that is estimated to cost more.", metavar="DOLLARS"),
    ] = None,
    prices: Prices = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate; send nothing.")] = False,
    wait: Annotated[bool, typer.Option(help="Follow the jobs until they end.")] = True,
    cancel: Annotated[bool, typer.Option("--cancel", help="Cancel the jobs recorded in --out.")] = False,
    poll: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between polls of a job; 30, local 1.")
    ] = None,
    mlflow: MlflowOption = False,
) -> None:
    """Fine-tune a model on a dataset and follow the job until it ends.

    [bold]Examples[/bold]

      python -m tools finetune --dataset out --out tuned --backend openai --connection azure_openai
      --model gpt-4.1-mini-2025-04-14 --dry-run
      python -m tools finetune --dataset out --out tuned --backend local --model embedded
      python -m tools finetune --dataset out --out tuned --backend local --model embedded --minutes 20
      python -m tools finetune --dataset more --out tuned-on --backend local --model tuned
      python -m tools finetune --dataset out --out tuned --backend trl --model Qwen/Qwen3-8B --quantize 4bit
      python -m tools finetune --dataset out --out preferred --backend trl --model tuned --method dpo
      python -m tools finetune --dataset out --out elsewhere --export axolotl --model Qwen/Qwen3-8B
      python -m tools finetune --dataset out --out sweep --backend openai --connection azure_openai
      --model gpt-4.1-mini-2025-04-14 --learning-rate 0.5 --learning-rate 2 --yes
      python -m tools finetune --dataset out --out tuned --backend openai --connection azure_openai
      --model Ministral-3B --training-type global --deploy
      python -m tools finetune --dataset out --out tuned --backend openai --connection azure_openai
      --model Ministral-3B --undeploy

    If interrupted, a submitted job goes on: the same command follows it again and submits nothing twice.
    A model that is no longer trained there is refused; RAFT_IGNORE_RETIREMENT=1 goes on all the same.
    Exit status: 0 success, 1 user error or failed job, 130 interrupted.
    """
    from rich.console import Console

    from tools.connections import lookup_without_file
    from tools.raft.finetune.backend import FineTuneSpec
    from tools.raft.finetune.job import check_spec, open_backend, run_job, sweep_folders
    from tools.raft.models.pricing import load_prices
    from tools.raft.share.tracking import open_tracker
    from tools.verbs import show_lengths, show_training
    from tools.verbs.confirm_training import confirm_training
    from tools.verbs.deploy import deploy_models, undeploy_models
    from tools.verbs.progress import bar, training

    console = Console(highlight=False, soft_wrap=True)
    poll = poll or (1.0 if backend == "local" else 30.0)
    rates: list[float | None] = [*(learning_rate or [])] or [None]
    if len(set(rates)) < len(rates):
        raise UserError("--learning-rate: the same rate is given twice")
    folders = sweep_folders(out, rates)  # type: ignore[arg-type]
    specs = {
        folder: FineTuneSpec(
            dataset=dataset, model=model, api=format, epochs=epochs, learning_rate=rate,
            batch_size=batch_size, rank=rank, seed=seed, suffix=suffix, quantize=quantize,
            overrides=tuple(overrides or ()), minutes=minutes, patience=patience, training_type=training_type,
            method=method, beta=beta,
        )
        for rate, folder in folders.items()
    }  # fmt: skip
    if patience is not None and backend != "trl":
        raise UserError("--patience is for --backend trl: local has one of its own, hosts decide themselves")
    if export:
        _export(export, specs, console)
        return
    if backend is None:
        raise UserError(
            "no --backend: name the place to train (local, trl, azure-ml, openai), or --export TOOL"
        )
    here = backend in ON_THIS_MACHINE
    table = load_prices(prices)
    jobs: dict[Path, tuple[Backend, FineTuneSpec]] = {}
    for folder, spec in specs.items():
        service = open_backend(
            backend,
            model,
            folder,
            connection=connection,
            base_url=base_url,
            deploy=deploy,
            training_type=training_type,
            deployment_type=deployment_type,
            prices=table,
            lookup=lookup_without_file,
        )
        jobs[folder] = service, spec
    if here and not wait:
        raise UserError("--no-wait: a local training ends with this command; leave the option out")
    if backend != "local" and minutes is not None:
        raise UserError("--minutes is for --backend local: use --epochs")
    if backend != "openai" and (training_type or undeploy):
        raise UserError("--training-type and --undeploy are for --backend openai at Azure")
    if cancel:
        _cancel(jobs, console, skip_long=skip_long)
        return
    if undeploy:
        undeploy_models(jobs, console, poll=poll)
        return
    tracker = open_tracker() if mlflow else None
    skipped: dict[Path, Lengths] = {}
    with TemporaryDirectory() as scratch:  # a dry run leaves nothing in --out
        for folder, (service, spec) in jobs.items():
            target = Path(scratch) if dry_run else folder
            with bar("checking the dataset", 0):
                checked, lengths = check_spec(service, spec, target, skip_long=skip_long)
            jobs[folder] = service, checked
            show_lengths.longest(lengths)
            if lengths.long and not dry_run:
                skipped[folder] = lengths
            if not dry_run:
                service.sign_in()  # fail before asking for confirmation, not after it
        confirm_training(jobs, console, yes=yes, dry_run=dry_run, paid=not here, max_cost=max_cost)
    if dry_run:
        return
    records: dict[Path, JobRecord] = {}
    try:
        # All jobs of a sweep are submitted before any is followed; those that run here, one after another.
        for only_submit in [True, False] if wait and not here else [not wait]:
            for folder, (service, spec) in jobs.items():
                if folder in records and records[folder]["state"] in ("failed", "cancelled"):
                    continue  # run_job would submit it again
                with training(folder.name if len(jobs) > 1 else "training") as show:
                    # A training that runs here keeps a log itself.
                    on_status: Callable[[Status], None]
                    on_status = show if here else partial(_record_status, folder, show)
                    if tracker:
                        on_status = tracker.following(folder, on_status)
                    records[folder] = run_job(
                        service, spec, folder, wait=not only_submit, poll=poll, on_status=on_status
                    )
    except KeyboardInterrupt:
        if here:
            raise
        message = (
            "stopped waiting, the jobs go on: run the same command again to follow, with --cancel to stop"
        )
        print(message, file=sys.stderr)
        raise typer.Exit(130) from None
    show_training.plot_curves(folders, out, console)
    if tracker:
        for folder in records:
            console.print(tracker.log_training(folder, out / "losses.png"), markup=False)
    for folder, lengths in skipped.items():
        show_lengths.skipped(lengths, folder)
    if deploy and backend == "openai":
        deploy_models(jobs, records, console, capacity=capacity, poll=poll)
    show_training.show_models(jobs, records, console)


def _export(tool: Trainer, specs: Mapping[Path, FineTuneSpec], console: Any) -> None:
    """Write dataset and configuration of each job for another tool; print the commands that train."""
    from tools.raft.finetune.export import export_training

    commands = [export_training(tool, spec, folder) for folder, spec in specs.items()]
    console.print(f"Written for {tool}, nothing trained. On the machine that trains:", markup=False)
    for command in commands:
        console.print(command, markup=False)


def _record_status(folder: Path, show: Callable[[Status], None], status: Status) -> None:
    """Show the status of a job, and append its metrics to a file in the job's folder."""
    from tools.raft.finetune.plot_losses import POLLED

    show(status)
    if status["step"] is not None and status["metrics"]:
        with (folder / POLLED).open("a", encoding="utf-8") as file:
            file.write(json_line({"step": status["step"], **status["metrics"]}))


def _cancel(jobs: Mapping[Path, tuple[Backend, FineTuneSpec]], console: Any, *, skip_long: bool) -> None:
    """Cancel each recorded job that has not ended."""
    from tools.raft.finetune.backend import ENDED
    from tools.raft.finetune.job import read_record, run_job
    from tools.raft.finetune.leave_out import shortened_spec

    for folder, (service, spec) in jobs.items():
        if skip_long:
            spec = shortened_spec(spec, folder)
        record = read_record(folder)
        job = (record["job"] if record else "") or (service.find(spec) or "" if record else "")
        if record is None or not job:
            raise UserError(f"{folder} has no job record: nothing to cancel")
        if record["state"] in ENDED:
            console.print(f"Job {job}: already {record['state']}", markup=False)
            continue
        service.cancel(job)
        ended = run_job(service, spec, folder, wait=False)
        console.print(f"Job {job}: {ended['state']}; record: {folder / 'job.json'}", markup=False)
