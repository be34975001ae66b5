"""Run a comparison: ask every arm the same questions, score and judge the answers, and write the report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..choices import FOCUS_SHARE, Mode, Quotes
from ..files import read_log, write_jsonl
from ..models.batcher import Batcher
from ..models.budget import Budget
from ..models.cache import cache_directory
from ..models.client import Client
from ..models.embed import Embedder, default_folder
from ..models.embedded import serving_each
from ..models.endpoint import Endpoint, Lookup, fitting_concurrency, shares_name
from ..models.pricing import Price
from ..progress import Progress, no_progress
from ..rag.answer import read_chat_questions
from ..rag.answerability import Answerability, open_answerability
from ..rag.focus import Focus
from ..rag.index import Hit, open_index
from .arms import (
    Arm,
    Role,
    ask_arm,
    find_documents,
    question_ids,
    sample,
    with_distractors,
    without_oracle,
)
from .compare import summarise_distractor_sweep, summarise_without_oracle
from .cost import cost_arm
from .judge import judge_answers
from .metrics import JUDGEMENTS, Scores
from .refusals import summarise_refusals
from .results import ComparisonResult, Results, recover_costs, warn_of_seen
from .score import Gold, read_gold, score_answers
from .trained_on import TrainedOn, read_trained_on

SWEEP = (0, 1, 2, 4, 6, 8, 10)  # distractors beside the oracle
_DEPTH = 32  # hits retrieved, so that there are enough distractors among them

Row = dict[str, Any]


@dataclass(frozen=True)
class ComparisonPlan:
    """The settings of a comparison."""

    questions: Path
    index: Path
    out: Path
    arms: Sequence[Arm]  # the first is the baseline
    endpoints: Mapping[Role, Sequence[Endpoint]]
    prices: Mapping[str, Price]
    judge: Sequence[Endpoint] = ()
    k: int = 4
    mode: Mode = "fused"
    focus: bool = False  # whether documents are cut to their best sentences, for all arms
    focus_share: float = FOCUS_SHARE
    always_answer: bool = False  # whether the index's threshold is left out, for all arms
    quotes: Quotes = "free"
    distractor_questions: int = 100
    without_oracle: bool = False
    similarity: bool = True
    dataset: Path | None = None  # the one the tuned models were trained on
    training_cost: float | None = None
    price_names: Mapping[Role, str] | None = None  # names in the price table, if not the models'
    workers: int = 32
    timeout: float = 120.0
    hedge: bool = False
    budget: Budget | None = None
    make_batcher: Callable[[Sequence[Endpoint]], Batcher | None] = lambda endpoints: None
    seed: int = 42

    def shares_name(self, role: Role) -> bool:
        """Return whether the model of a role has the name of another role's, but other addresses."""
        own = self.endpoints[role]
        return shares_name(own, {each for pool in self.endpoints.values() for each in pool} - set(own))


@dataclass
class Inputs:
    """The questions that all arms are asked, with their gold answers and documents."""

    questions: list[Row]
    ids: list[str]
    golds: list[Gold]
    hits: list[list[Hit]]  # as deep as the sweep needs
    k: int
    focus: Focus | None
    answerability: Answerability | None
    quotes: Quotes
    sweep: list[int]  # positions of the questions asked again with 0 to 10 distractors
    without_oracle: bool  # whether all are asked again without the oracle

    @property
    def documents(self) -> list[list[Hit]]:
        """The k best-ranked documents of each question."""
        return [hits[: self.k] for hits in self.hits]


@dataclass
class ArmAnswers:
    """The answers by name of the arm."""

    answers: dict[str, list[Row]] = field(default_factory=dict)
    distractor_sweep: dict[str, dict[int, list[Row]]] = field(default_factory=dict)  # by distractor count
    without_oracle: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every call got a reply."""
        return not any(row["error"] for rows in self.answers.values() for row in rows)


def run_comparison(
    plan: ComparisonPlan,
    *,
    lookup: Lookup | None = None,
    progress: Progress = no_progress,
    on_answer: Callable[[str, Row], None] = lambda arm, row: None,
) -> ComparisonResult:
    """Ask, score, summarise and report; answers, scores, comparison.json and the report go to `plan.out`.

    `on_answer` is called with the name of an arm and each answer as it comes.
    Earlier replies come from the cache, so an interrupted run resumes. Raises UserError.
    """
    if plan.similarity:
        default_folder()  # raise now, not after the last answer, if the model is missing
    trained_on = read_trained_on(plan.dataset)
    questions = read_chat_questions(plan.questions)
    with progress("opening the index", 0):
        index = open_index(plan.index, lookup=lookup)
    ids, golds = question_ids(questions), [read_gold(row) for row in questions]
    with progress("looking up documents", len(questions)) as on_found:
        hits = find_documents(questions, index, max(plan.k, _DEPTH), plan.mode, on_found)
    documents = any(arm.with_documents for arm in plan.arms)
    sweep = sample(ids, plan.distractor_questions, plan.seed) if documents else []
    focus = Focus(index.sentences, share=plan.focus_share) if plan.focus else None
    answerability = open_answerability(index, k=plan.k, mode=plan.mode, always_answer=plan.always_answer)
    inputs = Inputs(
        questions, ids, golds, hits, plan.k, focus, answerability, plan.quotes, sweep, plan.without_oracle
    )

    answers = ArmAnswers()
    accounts: dict[str, list[dict[str, Any]]] = {}
    for role, endpoints in plan.endpoints.items():
        arms = [arm for arm in plan.arms if arm.role == role]
        with serving_each(endpoints, progress) as live:
            client = _client(plan, live, by_address=plan.shares_name(role))
            asyncio.run(_ask_arms(arms, inputs, client, plan.out, answers, progress, on_answer))
        accounts[role] = [lane.account() for lane in client.lanes]
    answers.answers = {arm.name: answers.answers[arm.name] for arm in plan.arms}
    with progress("scoring", 0):
        scores = _score(answers, inputs, plan.similarity)
    if plan.judge:
        with serving_each(plan.judge, progress) as live:
            client = _client(plan, live)
            asyncio.run(_judge_arms(answers.answers, scores, inputs, client, plan.out, progress))
        accounts["judge"] = [lane.account() for lane in client.lanes]
    results = Results(ids, questions, golds, answers.answers, scores)
    with progress("comparing", 0):
        comparison = _summarise(plan, inputs, answers, results, trained_on)
    seen = trained_on.count(questions)
    comparison["settings"] |= {
        "index": {"model": index.manifest["model"], "chunks": index.manifest["chunks"]},
        "seen_in_training": seen,
    }
    comparison["warnings"] += warn_of_seen(seen, len(questions))
    with progress("writing the report", 0):
        report = results.write(comparison, plan.out)
    return ComparisonResult(comparison, report, answers.complete, accounts)


def _client(plan: ComparisonPlan, endpoints: Sequence[Endpoint], *, by_address: bool = False) -> Client:
    return Client(
        endpoints,
        cache_dir=cache_directory(plan.out),
        concurrency=fitting_concurrency(endpoints, plan.workers),
        timeout=plan.timeout,
        hedge=plan.hedge,
        by_address=by_address,
        budget=plan.budget,
        batcher=plan.make_batcher(endpoints),
    )


async def _ask_arms(
    arms: Sequence[Arm],
    inputs: Inputs,
    client: Client,
    out: Path,
    answers: ArmAnswers,
    progress: Progress,
    on_answer: Callable[[str, Row], None],
) -> None:
    """Ask one model for its arms; those with documents also run the sweep and without the oracle."""
    async with client:
        for arm in arms:
            path = out / "answers" / f"{arm.name}.jsonl"
            documents = dict(enumerate(inputs.documents))
            with progress(f"asking {arm.name}", len(documents)) as advance:
                rows = await _ask(
                    arm, inputs, documents, client, advance, read_log(path), partial(on_answer, arm.name)
                )
            answers.answers[arm.name] = rows
            write_jsonl(path, rows)
            if arm.with_documents and inputs.sweep:
                answers.distractor_sweep[arm.name] = await _sweep(arm, inputs, client, progress)
            if arm.with_documents and inputs.without_oracle:
                path = out / "answers" / f"{arm.name}.without_oracle.jsonl"
                rows = await _ask_without_oracle(arm, inputs, client, progress, read_log(path))
                answers.without_oracle[arm.name] = rows
                write_jsonl(path, rows)


async def _sweep(arm: Arm, inputs: Inputs, client: Client, progress: Progress) -> dict[int, list[Row]]:
    """Ask the same questions of the sweep with each number of distractors."""
    documents_by_count = {
        position: with_distractors(inputs.hits[position], inputs.golds[position], SWEEP, inputs.ids[position])
        for position in inputs.sweep
    }
    usable = [position for position in inputs.sweep if documents_by_count[position]]
    answers = {}
    with progress(f"asking {arm.name} with distractors", len(usable) * len(SWEEP)) as advance:
        for step, count in enumerate(SWEEP):
            documents = {position: documents_by_count[position][step] for position in usable}
            # The sweep is about the model: it is asked, whatever the threshold.
            answers[count] = await _ask(arm, inputs, documents, client, advance, always=True)
    return answers


async def _ask_without_oracle(
    arm: Arm, inputs: Inputs, client: Client, progress: Progress, before: Sequence[Row]
) -> list[Row]:
    """Ask all questions that have k documents without the answer."""
    documents = {
        position: without_oracle(hits, gold, inputs.k)
        for position, (hits, gold) in enumerate(zip(inputs.hits, inputs.golds, strict=True))
    }
    documents = {position: hits for position, hits in documents.items() if hits}
    with progress(f"asking {arm.name} without the oracle", len(documents)) as advance:
        return await _ask(arm, inputs, documents, client, advance, before)


async def _ask(
    arm: Arm,
    inputs: Inputs,
    documents: Mapping[int, Sequence[Hit]],
    client: Client,
    advance: Callable[[int], None],
    before: Sequence[Row] = (),
    on_answer: Callable[[Row], None] = lambda row: None,
    *,
    always: bool = False,
) -> list[Row]:
    """Ask an arm the questions at these positions; `before` holds the rows of an earlier run.

    always: whether none is refused for want of evidence.
    """

    def answered(row: Row) -> None:
        advance(1)
        on_answer(row)

    return await ask_arm(
        arm,
        [inputs.questions[position] for position in documents],
        [inputs.ids[position] for position in documents],
        list(documents.values()),
        client,
        focus=inputs.focus,
        answerability=None if always else inputs.answerability,
        quotes=inputs.quotes,
        before={row["id"]: row for row in before if "id" in row},
        on_answer=answered,
    )


def _score(answers: ArmAnswers, inputs: Inputs, similarity: bool) -> dict[str, list[Scores]]:
    embedder = Embedder() if similarity else None
    return {
        arm: score_answers(rows, inputs.golds, embedder=embedder) for arm, rows in answers.answers.items()
    }


async def _judge_arms(
    answers: Mapping[str, Sequence[Row]],
    scores: Mapping[str, Sequence[Scores]],
    inputs: Inputs,
    client: Client,
    out: Path,
    progress: Progress,
) -> None:
    """Judge all answers: add the scores to the others, and write the judge's replies to judged.jsonl."""
    judged = []
    async with client:
        for arm, rows in answers.items():
            with progress(f"judging {arm}", len(rows) * len(JUDGEMENTS)) as on_verdict:
                verdicts = await judge_answers(rows, inputs.golds, client, on_verdict=lambda: on_verdict(1))
            for id, scored, by_name in zip(inputs.ids, scores[arm], verdicts, strict=True):
                for name, verdict in by_name.items():
                    scored[f"judge_{name}"] = verdict.score
                    judged.append({"id": id, "arm": arm, "metric": name, **vars(verdict)})
    write_jsonl(out / "judged.jsonl", judged)


def _summarise(
    plan: ComparisonPlan, inputs: Inputs, answers: ArmAnswers, results: Results, trained_on: TrainedOn
) -> dict[str, Any]:
    """Summarise scores, costs, the distractor sweep and the run without the oracle."""
    costs = {}
    for arm in plan.arms:
        model = (plan.price_names or {}).get(arm.role) or plan.endpoints[arm.role][0].model
        costs[arm.name] = cost_arm(answers.answers[arm.name], model, plan.prices)
    golds = dict(zip(inputs.ids, inputs.golds, strict=True))
    return {
        **results.compare(inputs.documents, plan.seed),
        "costs": costs,
        "break_even": recover_costs(
            costs,
            [arm.name for arm in plan.arms if arm.role != "baseline"],
            dataset=trained_on.dollars,
            training=plan.training_cost,
            elsewhere=[arm.name for arm in plan.arms if arm.role == "student"],
        ),
        "distractors": summarise_distractor_sweep(
            answers.distractor_sweep, golds, total=len(inputs.sweep), seed=plan.seed
        ),
        "refusals": summarise_refusals(
            {
                arm: [(row, golds[row["id"]]) for row in (*rows, *answers.without_oracle.get(arm, ()))]
                for arm, rows in answers.answers.items()
            },
            seed=plan.seed,
        ),
        "without_oracle": summarise_without_oracle(
            answers.without_oracle, golds, total=len(inputs.ids), seed=plan.seed
        ),
        "settings": {
            "questions": plan.questions.name,
            "k": plan.k,
            "mode": plan.mode,
            "focus": plan.focus_share if plan.focus else None,
            "quotes": plan.quotes,
            "threshold": inputs.answerability.threshold if inputs.answerability else None,
            "seed": plan.seed,
            "models": {role: endpoints[0].model for role, endpoints in plan.endpoints.items()},
            "judge": plan.judge[0].model if plan.judge else None,
            "prompts": {arm.name: arm.prompt for arm in plan.arms},
        },
    }
