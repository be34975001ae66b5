"""Ask every arm the questions of a column."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..evaluate.arms import ARMS, Arm, ask_arm
from ..files import read_log, write_jsonl
from ..models.cache import cache_directory
from ..models.client import Client
from ..models.embedded import serving_each
from ..models.endpoint import Endpoint, fitting_concurrency, shares_name
from ..progress import Progress
from .clock import Clock
from .plan import BenchPlan, Prepared
from .questions import Question
from .train import FORMS, Role

Row = dict[str, Any]


def ask_column(
    plan: BenchPlan,
    prepared: Prepared,
    models: Mapping[tuple[str, int, Role], Endpoint],
    clock: Clock,
    progress: Progress,
) -> dict[str, list[Row]]:
    """Ask every arm the questions of a column; return the answers by arm, in the order of the questions."""
    answers: dict[str, dict[str, Row]] = {name: {} for name in plan.arms}
    everyone = {*plan.base, *plan.tuned.values(), *models.values()}
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
                by_address = shares_name(endpoints, everyone - {*endpoints})
                with serving_each(endpoints, progress) as live:
                    client = _open_client(plan, live, by_address=by_address)
                    asyncio.run(_ask_arms(plan, prepared, arms, client, questions, answers, progress))
    result = {}
    for arm, rows in answers.items():
        result[arm] = [rows[question.id] for question in prepared.questions]
        write_jsonl(plan.out / name / "answers" / f"{arm}.jsonl", result[arm])
    return result


def _open_client(plan: BenchPlan, endpoints: Sequence[Endpoint], *, by_address: bool) -> Client:
    return Client(
        endpoints,
        cache_dir=cache_directory(plan.out),
        concurrency=fitting_concurrency(endpoints, plan.workers),
        timeout=plan.timeout,
        by_address=by_address,
        budget=plan.budget,
    )


async def _ask_arms(
    plan: BenchPlan,
    prepared: Prepared,
    arms: Sequence[Arm],
    client: Client,
    questions: Sequence[Question],
    answers: dict[str, dict[str, Row]],
    progress: Progress,
) -> None:
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
