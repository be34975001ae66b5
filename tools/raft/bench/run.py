"""Run the benchmark of the RAFT paper's table: prepare, train, ask, score, and write the table."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import UserError
from ..evaluate.arms import ARMS, Arm, ask_arm
from ..files import read_log, read_object, write_json, write_jsonl
from ..finetune.backend import Status
from ..models.budget import Budget
from ..models.cache import cache_directory
from ..models.client import Client
from ..models.embedded import serving_each
from ..models.endpoint import Endpoint, fitting_concurrency
from ..models.pricing import Price
from ..progress import Progress, no_progress
from ..rag.answer import REPLY_TOKENS
from ..rag.index import Hit
from .columns import Column, Score
from .prepare import Setting, find_documents, write_training_rows
from .questions import Collection, Fold, Question, make_folds
from .report import write_table
from .table import summarise_column
from .train import FORMS, Job, Role, Training, estimate_cost, plan_job, submit, train

ARM_NAMES = ("closed_book", "rag", "dsf", "dsf_rag", "raft")  # in the order of the paper's table
TIMES = "times.json"

Row = dict[str, Any]
Trainings = Callable[[str], AbstractContextManager[Callable[[Status], None]]]


@dataclass(frozen=True)
class BenchPlan:
    """The settings of a run."""

    data: Path
    out: Path
    columns: Sequence[Column]
    base: Sequence[Endpoint]
    training: Training
    prices: Mapping[str, Price]
    arms: Sequence[str] = ARM_NAMES
    # Models tuned elsewhere, by column and role: they are asked instead of training one.
    tuned: Mapping[tuple[str, str], Endpoint] = field(default_factory=dict)
    test: int = 100  # questions asked per column, 0 for all
    train: int = 400  # questions trained on per fold, 0 for all
    setting: Setting = field(default_factory=Setting)
    max_tokens: int = REPLY_TOKENS
    workers: int = 32
    timeout: float = 120.0
    budget: Budget | None = None
    max_training_cost: float | None = 0.0  # dollars; None: any
    seed: int = 42


@dataclass(frozen=True)
class Prepared:
    """A column whose questions and documents are chosen."""

    column: Column
    collection: Collection
    folds: list[Fold]
    documents: Mapping[str, Sequence[Hit]]  # by question
    score: Score
    jobs: dict[tuple[int, Role], Job]  # by fold and role
    rows: int  # trained on, of all folds
    left_out: Counter[str]

    @property
    def questions(self) -> list[Question]:
        """The questions asked, in the order of the folds."""
        return [question for fold in self.folds for question in fold.test]


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
    clocks = {column.name: _Clock(plan.out / column.name / TIMES) for column in plan.columns}
    prepared = []
    for column in plan.columns:
        with progress(f"preparing {column.title}", 0), clocks[column.name].measure("prepare"):
            prepared.append(_prepare(plan, column))
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
    table: dict[str, Any] = {"settings": _settings(plan), "columns": {}}
    for each in prepared:
        clock = clocks[each.column.name]
        answers = _ask_column(plan, each, models, clock, progress)
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


def _prepare(plan: BenchPlan, column: Column) -> Prepared:
    """Choose and write the questions and rows of a column, and plan its trainings."""
    collection = column.read(plan.data)
    score = column.open_scorer(plan.data)
    folds = make_folds(collection, test=plan.test, train=plan.train, seed=plan.seed)
    documents = find_documents(folds, collection, plan.setting)
    folder = plan.out / column.name
    left_out = Counter(collection.left_out)
    jobs: dict[tuple[int, Role], Job] = {}
    rows = 0
    roles = [role for role in FORMS if any(ARMS[name].role == role for name in plan.arms)]
    untrained = [role for role in roles if (column.name, role) not in plan.tuned]
    for fold in folds if untrained else ():
        dataset = folder / f"fold-{fold.number}"
        count, skipped = write_training_rows(fold, collection, dataset, plan.setting)
        rows += count
        left_out += skipped
        for role in untrained:
            jobs[fold.number, role] = plan_job(column.name, fold.number, role, dataset, plan.training)
    write_jsonl(
        folder / "questions.jsonl",
        (
            {
                "id": question.id,
                "fold": fold.number,
                "question": question.text,
                "answer": question.answer,
                "oracles": question.oracles,
                "documents": [hit["id"] for hit in documents[question.id]],
            }
            for fold in folds
            for question in fold.test
        ),
    )
    return Prepared(column, collection, folds, documents, score, jobs, rows, left_out)


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


def _ask_column(
    plan: BenchPlan,
    prepared: Prepared,
    models: Mapping[tuple[str, int, Role], Endpoint],
    clock: _Clock,
    progress: Progress,
) -> dict[str, list[Row]]:
    """Ask every arm the questions of a column; return the answers by arm, in the order of the questions."""
    answers: dict[str, dict[str, Row]] = {name: {} for name in plan.arms}
    name = prepared.column.name
    roles: tuple[Role | Literal["baseline"], ...] = ("baseline", *FORMS)
    for role in roles:
        arms = [ARMS[arm] for arm in plan.arms if ARMS[arm].role == role]
        if not arms:
            continue
        parts: list[tuple[Sequence[Endpoint], list[Question]]]
        if role == "baseline":
            parts = [(plan.base, prepared.questions)]
        elif (name, role) in plan.tuned:
            parts = [([plan.tuned[name, role]], prepared.questions)]
        else:
            parts = [([models[name, fold.number, role]], fold.test) for fold in prepared.folds]
        with clock.measure(f"ask {role}"):
            for endpoints, questions in parts:
                with serving_each(endpoints, progress) as live:
                    asyncio.run(_ask_arms(plan, prepared, arms, live, questions, answers, progress))
    result = {}
    for arm, rows in answers.items():
        result[arm] = [rows[question.id] for question in prepared.questions]
        write_jsonl(plan.out / name / "answers" / f"{arm}.jsonl", result[arm])
    return result


async def _ask_arms(
    plan: BenchPlan,
    prepared: Prepared,
    arms: Sequence[Arm],
    endpoints: Sequence[Endpoint],
    questions: Sequence[Question],
    answers: dict[str, dict[str, Row]],
    progress: Progress,
) -> None:
    client = Client(
        endpoints,
        cache_dir=cache_directory(plan.out),
        concurrency=fitting_concurrency(endpoints, plan.workers),
        timeout=plan.timeout,
        budget=plan.budget,
    )
    async with client:
        for arm in arms:
            path = plan.out / prepared.column.name / "answers" / f"{arm.name}.jsonl"
            before = {str(row["id"]): row for row in read_log(path) if "id" in row}
            with progress(f"asking {prepared.column.title}, {arm.name}", len(questions)) as advance:
                rows = await ask_arm(
                    arm,
                    [{"question": question.text} for question in questions],
                    [question.id for question in questions],
                    [prepared.documents[question.id] for question in questions],
                    client,
                    max_tokens=plan.max_tokens,
                    before=before,
                    on_answer=lambda row: advance(1),
                )
            answers[arm.name].update({row["id"]: row for row in rows})


def _settings(plan: BenchPlan) -> dict[str, Any]:
    training = plan.training
    return {
        "arms": list(plan.arms),
        "base": plan.base[0].model,
        "tuned": {f"{column}.{role}": endpoint.model for (column, role), endpoint in plan.tuned.items()},
        "trained": training.model,
        "backend": training.backend,
        "epochs": training.epochs,
        "learning_rate": training.learning_rate,
        "batch_size": training.batch_size,
        "rank": training.rank,
        "distractors": plan.setting.distractors,
        "p": plan.setting.p,
        "retrieved": plan.setting.retrieved,
        "mode": plan.setting.mode,
        "test": plan.test,
        "train": plan.train,
        "max_tokens": plan.max_tokens,
        "seed": plan.seed,
    }


def _silent(description: str) -> AbstractContextManager[Callable[[Status], None]]:
    from contextlib import nullcontext

    return nullcontext(lambda status: None)


class _Clock:
    """Adds up how long each step of a column took, over all runs."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = read_object(path)

    def measure(self, step: str) -> _Measured:
        """Measure the block; what an interrupted one took counts as well."""
        return _Measured(self, step)

    def add(self, step: str, seconds: float) -> None:
        """Add the seconds to a step, and write all to the file."""
        self.seconds[step] = round(self.seconds.get(step, 0.0) + seconds, 1)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self._path, self.seconds)


class _Measured:
    def __init__(self, clock: _Clock, step: str) -> None:
        self._clock, self._step = clock, step

    def __enter__(self) -> None:
        self._started = time.monotonic()

    def __exit__(self, *exception: object) -> None:
        self._clock.add(self._step, time.monotonic() - self._started)
