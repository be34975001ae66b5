"""compare: the same questions through several arms → scores, paired differences, costs, a report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.verbs.answer import Mode, write_rows
from tools.verbs.ask_arms import Asked, Inputs, ask_arms, bar, judge_arms
from tools.verbs.options import EMBEDDED_SLOTS, INCOMPLETE, running

if TYPE_CHECKING:
    from tools.raft.arms import Arm, Role
    from tools.raft.client import Client
    from tools.raft.cost import Price
    from tools.raft.endpoint import Endpoint
    from tools.raft.retrieve import Mode as ModeName
    from tools.raft.score import Scores

_DEPTH = 32  # hits looked up, so that there are ten distractors among them


@dataclass(frozen=True)
class Plan:
    """What is compared, and how."""

    questions: Path
    index: Path
    out: Path
    arms: Sequence[Arm]  # the first is compared with
    endpoints: Mapping[Role, Endpoint]
    prices: Mapping[str, Price]
    judge: Endpoint | None = None
    k: int = 4
    mode: ModeName = "fused"
    distractor_questions: int = 100
    without_oracle: bool = False
    similarity: bool = True
    dataset: Path | None = None  # that the tuned models were trained on
    training_cost: float | None = None
    price_names: Mapping[Role, str] | None = None  # where they are not the models'
    workers: int = 32
    timeout: float = 120.0
    seed: int = 42


def compare(
    questions: Annotated[
        Path,
        typer.Option(
            help='JSON lines with "question", "answer" or "answers", "source" or "chunk_id".',
            metavar="F.jsonl",
        ),
    ],
    index: Annotated[Path, typer.Option(help="Folder that `index` made.", metavar="DIR")],
    baseline: Annotated[str, typer.Option(help="Base model: CONNECTION[:MODEL] or URL:MODEL.")],
    out: Annotated[Path, typer.Option(help="Folder for answers, scores and comparison.", metavar="DIR")],
    raft: Annotated[
        str, typer.Option(help="Model tuned on RAFT rows: CONNECTION[:MODEL] or URL:MODEL.")
    ] = "",
    dsf: Annotated[str, typer.Option(help="Model tuned without documents.")] = "",
    judge: Annotated[str, typer.Option(help="Model that judges, 1 to 5; none if left out.")] = "",
    arms: Annotated[
        str,
        typer.Option(help="Of closed_book, few_shot, rag, dsf, dsf_rag, raft; the first is compared with."),
    ] = "rag,raft",
    k: Annotated[int, typer.Option(min=1, max=16, help="Documents given to the model.")] = 4,
    mode: Annotated[Mode, typer.Option(help="How documents are found.")] = Mode.fused,
    distractor_questions: Annotated[
        int, typer.Option(min=0, help="Questions asked again with 0 to 10 distractors; 0 for none.")
    ] = 100,
    without_oracle: Annotated[
        bool,
        typer.Option("--without-oracle", help="Ask all again with the oracle taken out of the documents."),
    ] = False,
    similarity: Annotated[
        bool, typer.Option("--similarity/--no-similarity", help="Embed answers, and compare their meaning.")
    ] = True,
    dataset: Annotated[
        Path | None,
        typer.Option(
            help="Dataset that was trained on: its cost, and whether it holds the questions.", metavar="DIR"
        ),
    ] = None,
    training_cost: Annotated[
        float | None, typer.Option(min=0, help="Dollars that the training cost.")
    ] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price table.", metavar="F.json")] = None,
    baseline_price: Annotated[str, typer.Option(help="Name in the price table, if not the model's.")] = "",
    raft_price: Annotated[str, typer.Option(help="Name in the price table, if not the model's.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")] = 32,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds before a call is tried again.")] = 120.0,
    seed: Annotated[int, typer.Option(help="Of the intervals and the sample.")] = 42,
) -> None:
    """Compare models on the same questions, with the same documents, prompts and decoding.

    [bold]Examples[/bold]

      python -m tools compare --questions q.jsonl --index index --out out --baseline openai:gpt-4o --raft mine
      python -m tools compare … --arms rag,closed_book,few_shot,raft --judge azure_openai:gpt-4o

    The report is report.html, which needs nothing beside it, and report.md; all figures: comparison.json.
    Run it again after an interruption, or to score anew: replies that were paid for are not paid for twice.
    Exit status: 0 all well, 1 a mistake, 3 calls failed and rows are missing (run again), 130 interrupted.
    """
    from tools.connections import lookup
    from tools.raft.arms import choose_arms
    from tools.raft.cost import load_prices
    from tools.raft.endpoint import resolve_endpoint

    named: dict[Role, str] = {"baseline": baseline, "dsf": dsf, "raft": raft}
    chosen = choose_arms([name.strip() for name in arms.split(",") if name.strip()],
                         [role for role, spec in named.items() if spec])  # fmt: skip
    roles = sorted({arm.role for arm in chosen})
    plan = Plan(
        questions, index, out, chosen,
        {role: resolve_endpoint(named[role], lookup=lookup) for role in roles},
        load_prices(prices),
        judge=resolve_endpoint(judge, lookup=lookup) if judge else None,
        k=k, mode=mode.value, distractor_questions=distractor_questions, without_oracle=without_oracle,
        similarity=similarity, dataset=dataset, training_cost=training_cost,
        price_names={"baseline": baseline_price, "raft": raft_price, "dsf": raft_price},
        workers=workers, timeout=timeout, seed=seed,
    )  # fmt: skip
    if not produce(plan):
        raise typer.Exit(INCOMPLETE)


def produce(plan: Plan) -> bool:
    """Ask, score, conclude and report; tell whether every call got its reply."""
    from tools.connections import lookup
    from tools.raft.arms import find_documents, identify, sample
    from tools.raft.cache import cache_directory
    from tools.raft.chat import read_asked
    from tools.raft.embed import default_folder
    from tools.raft.index import open_index
    from tools.raft.score import read_gold
    from tools.verbs.show_comparison import show_comparison

    if plan.similarity:
        default_folder()  # a model that is missing is better known now than after the last answer
    trained = read_trained(plan.dataset) if plan.dataset else Trained(None, None)
    rows = read_asked(plan.questions)
    index = open_index(plan.index, lookup=lookup)
    ids, golds = identify(rows), [read_gold(row) for row in rows]
    with bar("looking up documents", len(rows)) as on_found:
        hits = find_documents(rows, index, max(plan.k, _DEPTH), plan.mode, on_found)
    documents = any(arm.with_documents for arm in plan.arms)
    ladder = sample(ids, plan.distractor_questions, plan.seed) if documents else []
    inputs = Inputs(rows, ids, golds, hits, plan.k, ladder, plan.without_oracle)
    cache = cache_directory(plan.out)

    def client(endpoint: Endpoint) -> Client:
        from tools.raft.client import Client

        most = min(plan.workers, EMBEDDED_SLOTS) if endpoint.kind == "embedded" else plan.workers
        return Client(endpoint, cache_dir=cache, concurrency=most, timeout=plan.timeout)

    asked = Asked()
    for role, endpoint in plan.endpoints.items():
        mine = [arm for arm in plan.arms if arm.role == role]
        with running(endpoint) as live:
            asyncio.run(ask_arms(mine, inputs, client(live), plan.out, asked))
    asked.answers = {arm.name: asked.answers[arm.name] for arm in plan.arms}
    scores = _score(asked, inputs, plan.similarity)
    if plan.judge is not None:
        with running(plan.judge) as live:
            asyncio.run(judge_arms(asked.answers, scores, inputs, client(live), plan.out))

    comparison = _conclude(plan, inputs, asked, scores, trained)
    comparison["settings"] |= {
        "index": {"model": index.manifest["model"], "chunks": index.manifest["chunks"]},
        "seen_in_training": trained.count(rows),
    }
    if seen := comparison["settings"]["seen_in_training"]:
        comparison["warnings"].append(
            f"{seen} of the {len(rows)} questions stand in the training rows: keep them out of one of the two"
        )
    show_comparison(comparison, _write(plan.out, comparison, inputs, asked, scores))
    return not any(row["error"] for many in asked.answers.values() for row in many)


def _score(asked: Asked, inputs: Inputs, similarity: bool) -> dict[str, list[Scores]]:
    from tools.raft.embed import Embedder
    from tools.raft.score import score_answers

    embedder = Embedder() if similarity else None
    return {arm: score_answers(rows, inputs.golds, embedder=embedder) for arm, rows in asked.answers.items()}


def _conclude(
    plan: Plan, inputs: Inputs, asked: Asked, scores: Mapping[str, Sequence[Scores]], trained: Trained
) -> dict[str, Any]:
    """Put scores, costs, and the runs with distractors and without the oracle together."""
    from tools.raft.arm_cost import cost_arm, pay_back
    from tools.raft.compare import compare_arms, slices_of, summarise_ladder, summarise_without_oracle

    baseline = next(iter(scores))
    # Questions about one document are no independent evidence: they are drawn together.
    groups = [
        " ".join(sorted(gold.relevant)) or id for gold, id in zip(inputs.golds, inputs.ids, strict=True)
    ]
    comparison = compare_arms(
        scores,
        baseline=baseline,
        slices=slices_of(inputs.questions, inputs.golds, inputs.documents),
        groups=groups,
        errors={arm: sum(bool(row["error"]) for row in rows) for arm, rows in asked.answers.items()},
        seed=plan.seed,
    )
    costs = {}
    for arm in plan.arms:
        named = (plan.price_names or {}).get(arm.role) or plan.endpoints[arm.role].model
        costs[arm.name] = cost_arm(asked.answers[arm.name], named, plan.prices)
    golds = dict(zip(inputs.ids, inputs.golds, strict=True))
    return {
        **comparison,
        "costs": costs,
        "pay_back": {
            arm.name: pay_back(
                costs[baseline], costs[arm.name], dataset=trained.dollars, training=plan.training_cost
            )
            for arm in plan.arms
            if arm.role != "baseline"
        },
        "distractors": summarise_ladder(asked.climbed, golds, asked=len(inputs.ladder), seed=plan.seed),
        "without_oracle": summarise_without_oracle(asked.bare, golds, asked=len(inputs.ids), seed=plan.seed),
        "settings": {
            "questions": plan.questions.name,
            "k": plan.k,
            "mode": plan.mode,
            "seed": plan.seed,
            "models": {role: endpoint.model for role, endpoint in plan.endpoints.items()},
            "judge": plan.judge.model if plan.judge else None,
            "prompts": {arm.name: arm.prompt for arm in plan.arms},
        },
    }


def _write(
    out: Path,
    comparison: dict[str, Any],
    inputs: Inputs,
    asked: Asked,
    scores: Mapping[str, Sequence[Scores]],
) -> Path:
    """Write scores, figures and the report; give the report's path."""
    from tools.raft.cases import pick_cases, tabulate
    from tools.raft.report import write_report

    write_rows(
        [{"id": id, "arm": arm, "question": row["question"], **scored}
         for arm, many in scores.items()
         for id, row, scored in zip(inputs.ids, inputs.questions, many, strict=True)],
        out / "scores.jsonl",
    )  # fmt: skip
    said = (inputs.ids, inputs.questions, inputs.golds, asked.answers, scores)
    cases = pick_cases(*said, baseline=comparison["baseline"])
    text = json.dumps({**comparison, "cases": cases}, ensure_ascii=False, indent=1)
    (out / "comparison.json").write_text(text + "\n", encoding="utf-8")
    return write_report(comparison, cases, tabulate(*said, baseline=comparison["baseline"]), out)


@dataclass(frozen=True)
class Trained:
    """What is known of the dataset that a model was tuned on."""

    dollars: float | None
    questions: frozenset[str] | None  # of its training rows, normalised; None: not known

    def count(self, rows: Sequence[Mapping[str, Any]]) -> int | None:
        """Count the rows whose question was trained on."""
        from tools.raft.parse import normalise

        if self.questions is None:
            return None
        return sum(normalise(str(row["question"])) in self.questions for row in rows)


def read_trained(folder: Path) -> Trained:
    """Read what a dataset cost off its manifest, and its training questions off train.jsonl.

    Raises UserError for a folder without training rows, or whose manifest cannot be read.
    """
    from tools.raft.errors import UserError
    from tools.raft.parse import normalise

    manifest, train = folder / "manifest.json", folder / "train.jsonl"
    try:
        cost = json.loads(manifest.read_text(encoding="utf-8"))["cost_dollars"] if manifest.exists() else None
        lines = train.read_text(encoding="utf-8").splitlines()
        asked = frozenset(normalise(json.loads(line)["question"]) for line in lines)
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{folder} is no dataset: name a folder that `generate` made, with train.jsonl"
        ) from None
    return Trained(None if cost is None else float(cost), asked)
