"""Run the benchmark of the RAFT paper's table: prepare, train, ask, score, and write the table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..errors import UserError
from ..finetune.backend import Status
from ..models.endpoint import Endpoint
from ..progress import Progress, no_progress
from .ask import ask_column
from .clock import Clock
from .plan import BenchPlan, describe_plan, prepare_column
from .report import write_table
from .table import summarise_column
from .train import FORMS, Job, Role, estimate_cost, submit, train

TIMES = "times.json"

Trainings = Callable[[str], AbstractContextManager[Callable[[Status], None]]]


def run_table(
    plan: BenchPlan,
    *,
    progress: Progress = no_progress,
    trainings: Trainings | None = None,
) -> dict[str, Any]:
    """Fill the table and write it to `plan.out`; return what table.json holds.

    Everything is checked and prepared before anything is trained or asked. A killed run goes on where it was:
    trainings from their records, replies from the cache. Raises UserError for what cannot be prepared,
    for trainings that would cost more than allowed, or one that failed.
    """
    clocks = {column.name: Clock(plan.out / column.name / TIMES) for column in plan.columns}
    prepared = []
    for column in plan.columns:
        with progress(f"preparing {column.title}", 0), clocks[column.name].measure("prepare"):
            prepared.append(prepare_column(plan, column))
    jobs = [job for each in prepared for job in each.jobs.values()]
    _check_cost(plan, jobs)
    if plan.training.paid:  # a service trains them side by side
        with progress("submitting the trainings", len(jobs)) as advance:
            for job in jobs:
                submit(job)
                advance(1)
    models: dict[tuple[str, int, Role], Endpoint] = {}
    trained: dict[str, dict[str, float]] = {}
    for each in prepared:
        for (fold, role), job in each.jobs.items():
            with (
                (trainings or _silent)(f"training {job.name}") as on_status,
                clocks[each.column.name].measure(f"train {role}"),
            ):
                endpoint, record = train(job, plan.training, on_status)
            models[each.column.name, fold, role] = endpoint
            totals = trained.setdefault(f"{each.column.name} {role}", {})
            for name, value in record["result"]["metrics"].items():
                totals[name] = totals.get(name, 0.0) + value
    table: dict[str, Any] = {"settings": describe_plan(plan), "columns": {}}
    for each in prepared:
        clock = clocks[each.column.name]
        answers = ask_column(plan, each, models, clock, progress)
        table["columns"][each.column.name] = summarise_column(
            each.column, each.questions, each.collection.test, answers, each.score, plan.prices, plan.seed
        ) | {
            "folds": len(each.folds),
            "training_rows": each.rows,
            "training": {role: trained.get(f"{each.column.name} {role}", {}) for role in FORMS},
            "left_out": dict(each.left_out),
            "seconds": clock.seconds,
        }
        write_table(table, plan.out)  # after each column: an interrupted run leaves what it has
    return table


def is_complete(table: Mapping[str, Any]) -> bool:
    """Return whether every question of every cell got a reply."""
    return not any(arm["missing"] for column in table["columns"].values() for arm in column["arms"].values())


def _check_cost(plan: BenchPlan, jobs: list[Job]) -> None:
    """Raise UserError if the trainings that are still to be submitted may cost more than allowed."""
    missing = [job for job in jobs if not job.done]
    if not missing or not plan.training.paid or plan.max_training_cost is None:
        return
    cost = estimate_cost(missing)
    if cost is None or cost > plan.max_training_cost:
        amount = "an amount that is not known" if cost is None else f"about ${cost:,.2f}"
        raise UserError(
            f"{len(missing)} trainings would cost {amount}: allow it with --max-training-cost, or --yes"
        )


def _silent(description: str) -> AbstractContextManager[Callable[[Status], None]]:
    return nullcontext(lambda status: None)
