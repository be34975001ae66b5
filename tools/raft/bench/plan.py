"""Plan a run: its settings, and for each column the questions, documents, rows and trainings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..evaluate.arms import ARMS
from ..files import write_jsonl
from ..models.budget import Budget
from ..models.endpoint import Endpoint
from ..models.pricing import Price
from ..rag.answer import REPLY_TOKENS
from ..rag.index import Hit
from .columns import Column, Score
from .prepare import Setting, find_documents, write_training_rows
from .questions import Collection, Fold, Question, make_folds
from .train import FORMS, Job, Role, Training, plan_job

ARM_NAMES = ("closed_book", "rag", "dsf", "dsf_rag", "raft")  # in the order of the paper's table


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


def prepare_column(plan: BenchPlan, column: Column) -> Prepared:
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
            job = plan_job(column.name, fold.number, role, dataset, plan.training, plan.prices)
            jobs[fold.number, role] = job
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


def describe_plan(plan: BenchPlan) -> dict[str, Any]:
    """Return the settings that the table was made with."""
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
