"""bench: the table of the RAFT paper, for any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import BackendName, Mode
from tools.raft.errors import UserError
from tools.verbs.options import (
    INCOMPLETE,
    MaxCalls,
    MaxCost,
    Prices,
    Timeout,
    make_budget,
    named_endpoints,
)

if TYPE_CHECKING:
    from tools.raft.models.endpoint import Endpoint

bench = typer.Typer(
    help="Published benchmarks, for any model.", no_args_is_help=True, rich_markup_mode="rich"
)


@bench.command("sources")
def sources() -> None:
    """Say which files the benchmarks need, and where each is to be had.

    [bold]Examples[/bold]

      python -m tools bench sources
    """
    from rich.console import Console
    from rich.table import Table

    from tools.raft.bench.data import SOURCES

    table = Table("column", "files", "from", "licence", "note")
    for source in SOURCES:
        table.add_row(source.column, "\n".join(source.files), source.place, source.licence, source.note)
    console = Console(highlight=False)
    console.print(table)
    console.print("Put the files of a column into one folder, under these names, and pass it as --data.")


@bench.command("raft-table")
def raft_table(
    data: Annotated[
        Path, typer.Option(help="Folder with the files that `bench sources` lists.", metavar="DIR")
    ],
    out: Annotated[Path, typer.Option(help="Folder for rows, models, answers and the table.", metavar="DIR")],
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="pubmedqa, hotpotqa, huggingface, torchhub or tensorflowhub; repeatable, all by default."
        ),
    ] = None,
    arms: Annotated[
        str, typer.Option(help="Rows of the table to fill.")
    ] = "closed_book,rag,dsf,dsf_rag,raft",
    base: Annotated[
        list[str] | None,
        typer.Option(
            help="The untuned model, embedded by default: CONNECTION[:MODEL] or URL:MODEL; repeatable.",
            metavar="MODEL",
        ),
    ] = None,
    tuned: Annotated[
        list[str] | None,
        typer.Option(
            help="A model tuned elsewhere, to be asked instead: torchhub.raft=URL:MODEL; repeatable.",
            metavar="COLUMN.ARM=MODEL",
        ),
    ] = None,
    backend: Annotated[BackendName, typer.Option(help="Where the tuned arms are trained.")] = "local",
    model: Annotated[str, typer.Option(help="The model to tune, as the backend names it.")] = "embedded",
    connection: Annotated[str, typer.Option(help="openai: the connection to train with.")] = "",
    epochs: Annotated[float, typer.Option(min=0, help="Passes over the training rows.")] = 2,
    learning_rate: Annotated[float | None, typer.Option(min=0, help="The backend's by default.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Rows per step.")] = None,
    rank: Annotated[int | None, typer.Option(min=1, help="Rank of the LoRA adapters.")] = None,
    questions: Annotated[int, typer.Option(min=0, help="Questions asked per column; 0 for all.")] = 100,
    train_questions: Annotated[
        int, typer.Option(min=0, help="Questions trained on per fold; 0 for all.")
    ] = 400,
    distractors: Annotated[int, typer.Option(min=1, max=20, help="Documents beside the oracle.")] = 4,
    p: Annotated[float, typer.Option(min=0, max=1, help="Share of training rows with their oracle.")] = 0.8,
    retrieved: Annotated[
        int,
        typer.Option(
            min=0, max=20, help="At test time, so many retrieved documents instead of oracle and distractors."
        ),
    ] = 0,
    mode: Annotated[Mode, typer.Option(help="Retrieval mode of --retrieved.")] = "lexical",
    poll: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between polls of a training; 30, local 1.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=16, help="Longest reply, in tokens.")] = 512,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Maximum concurrent calls.")] = 32,
    timeout: Timeout = 120.0,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    max_training_cost: Annotated[
        float, typer.Option(min=0, help="Dollars that the trainings may be estimated at.", metavar="DOLLARS")
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Train whatever it costs.")] = False,
    prices: Prices = None,
    seed: Annotated[int, typer.Option(help="Seed of samples, rows, trainings and intervals.")] = 42,
) -> None:
    """Fill the table of the RAFT paper: five benchmarks, untuned and tuned, with and without documents.

    [bold]Examples[/bold]

      python -m tools bench raft-table --data qa --out out/table
      python -m tools bench raft-table --data qa --out out/table --column torchhub --questions 0
      python -m tools bench raft-table --data qa --out out/t --base openai:gpt-6-luna --arms closed_book,rag
      python -m tools bench raft-table --data qa --out out/t --column hotpotqa --base http://gpu:8000/v1:base
      --tuned hotpotqa.raft=http://gpu:8000/v1:raft --tuned hotpotqa.dsf=http://gpu:8000/v1:dsf

    Writes table.html, table.md and, with all figures, table.json: n and interval of each cell, the paper's
    figures, constant baselines, and what differs from the paper.
    Run it again to resume after an interruption: nothing is trained or paid for twice.
    Exit status: 0 success, 1 user error, 3 calls failed, answers are missing (run again), 130 interrupted.
    """
    from tools.connections import lookup_without_file
    from tools.raft.bench.columns import choose_columns
    from tools.raft.bench.plan import ARM_NAMES, BenchPlan
    from tools.raft.bench.prepare import Setting
    from tools.raft.bench.run import is_complete, run_table
    from tools.raft.bench.train import Training
    from tools.raft.models.pricing import load_prices
    from tools.verbs.progress import bar, training
    from tools.verbs.show_bench import show_bench

    names = [name.strip() for name in arms.split(",") if name.strip()]
    if unknown := [name for name in names if name not in ARM_NAMES]:
        raise UserError(f"unknown arm {unknown[0]!r}: choose from {', '.join(ARM_NAMES)}")
    if not names:
        raise UserError(f"no arms: choose from {', '.join(ARM_NAMES)}")
    columns = choose_columns([name for value in column or [] for name in value.split(",")])
    table_of_prices = load_prices(prices)
    base_endpoints = named_endpoints(base, "", "", None)
    tuned_models = _read_tuned(tuned or [])
    plan = BenchPlan(
        data, out, columns, base_endpoints,
        Training(
            backend, model, connection, epochs=epochs, learning_rate=learning_rate, batch_size=batch_size,
            rank=rank, seed=seed, poll=poll, lookup=lookup_without_file,
        ),
        table_of_prices,
        arms=[name for name in ARM_NAMES if name in names],
        tuned=tuned_models, test=questions, train=train_questions,
        setting=Setting(distractors, p, retrieved, mode, seed),
        max_tokens=max_tokens, workers=workers, timeout=timeout,
        budget=make_budget(
            max_cost, max_calls, table_of_prices, [*base_endpoints, *tuned_models.values()]
        ),
        max_training_cost=None if yes else max_training_cost,
        seed=seed,
    )  # fmt: skip
    table = run_table(plan, progress=bar, trainings=training)
    show_bench(table, out)
    if not is_complete(table):
        raise typer.Exit(INCOMPLETE)


def _read_tuned(options: Sequence[str]) -> dict[tuple[str, str], Endpoint]:
    """Return the models of --tuned by column and role."""
    from tools.raft.bench.columns import COLUMNS

    models = {}
    for option in options:
        place, _, name = option.partition("=")
        column, _, role = place.partition(".")
        if column not in COLUMNS or role not in ("dsf", "raft") or not name:
            raise UserError(
                f"--tuned {option}: write it as COLUMN.ARM=MODEL, such as torchhub.raft=http://host/v1:name; "
                f"ARM is dsf or raft, COLUMN one of {', '.join(COLUMNS)}"
            )
        [endpoint] = named_endpoints([name], "", "", None)
        models[column, role] = endpoint
    return models
