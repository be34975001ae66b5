"""compare: the same questions through several arms → scores, paired differences, costs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.verbs.answer import Mode, write_rows
from tools.verbs.options import EMBEDDED_SLOTS, INCOMPLETE, running

if TYPE_CHECKING:
    from tools.raft.arms import Arm
    from tools.raft.client import Client
    from tools.raft.endpoint import Endpoint
    from tools.raft.index import Hit
    from tools.raft.score import Gold, Scores

LADDER = (0, 1, 2, 4, 6, 8, 10)  # distractors beside the oracle
_DEPTH = 32  # hits looked up, so that there are ten distractors among them


@dataclass
class Inputs:
    """What all arms are asked, and what is known of it."""

    questions: list[dict[str, Any]]
    ids: list[str]
    golds: list[Gold]
    hits: list[list[Hit]]  # as deep as the ladder needs
    k: int
    ladder: list[int] = field(default_factory=list)  # positions of the questions that the ladder is asked

    @property
    def documents(self) -> list[list[Hit]]:
        return [hits[: self.k] for hits in self.hits]


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
    similarity: Annotated[
        bool, typer.Option("--similarity/--no-similarity", help="Embed answers, and compare their meaning.")
    ] = True,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder that `generate` made, for what it cost.", metavar="DIR")
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

    Run it again after an interruption, or to score anew: replies that were paid for are not paid for twice.
    Exit status: 0 all well, 1 a mistake, 3 calls failed and rows are missing (run again), 130 interrupted.
    """
    from tools.connections import lookup
    from tools.raft.arms import choose_arms, find_documents, identify, sample
    from tools.raft.cache import cache_directory
    from tools.raft.chat import read_asked
    from tools.raft.cost import load_prices
    from tools.raft.embed import default_folder
    from tools.raft.endpoint import resolve_endpoint
    from tools.raft.index import open_index
    from tools.raft.score import read_gold
    from tools.verbs.show_comparison import show_comparison

    named = {"baseline": baseline, "dsf": dsf, "raft": raft}
    chosen = choose_arms([name.strip() for name in arms.split(",") if name.strip()],
                         [role for role, spec in named.items() if spec])  # fmt: skip
    roles = {arm.role for arm in chosen}
    endpoints = {role: resolve_endpoint(named[role], lookup=lookup) for role in sorted(roles)}
    judging = resolve_endpoint(judge, lookup=lookup) if judge else None
    if similarity:
        default_folder()  # a model that is missing is better known now than after the last answer
    table = load_prices(prices)
    spent = _dataset_cost(dataset)
    rows = read_asked(questions)
    opened = open_index(index, lookup=lookup)
    ids, golds = identify(rows), [read_gold(row) for row in rows]
    with _bar("looking up documents", len(rows)) as on_found:
        hits = find_documents(rows, opened, max(k, _DEPTH), mode.value, on_found)
    ladder = sample(ids, distractor_questions, seed) if any(arm.with_documents for arm in chosen) else []
    inputs = Inputs(rows, ids, golds, hits, k, ladder)
    cache = cache_directory(out)

    def client(endpoint: Endpoint) -> Client:
        from tools.raft.client import Client

        most = min(workers, EMBEDDED_SLOTS) if endpoint.kind == "embedded" else workers
        return Client(endpoint, cache_dir=cache, concurrency=most, timeout=timeout)

    answers: dict[str, list[dict[str, Any]]] = {}
    climbed: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for role, endpoint in endpoints.items():
        mine = [arm for arm in chosen if arm.role == role]
        with running(endpoint) as live:
            told, ladders = asyncio.run(_ask(mine, inputs, client(live), out))
        answers |= told
        climbed |= ladders
    answers = {arm.name: answers[arm.name] for arm in chosen}

    scores = _score(answers, golds, similarity)
    if judging is not None:
        with running(judging) as live:
            asyncio.run(_judge(answers, scores, inputs, client(live), out))
    price_names = {
        arm.name: {"baseline": baseline_price, "raft": raft_price, "dsf": raft_price}[arm.role]
        or endpoints[arm.role].model
        for arm in chosen
    }
    comparison = _conclude(inputs, answers, scores, climbed, price_names, table, spent, training_cost, seed)
    comparison["settings"] = {
        "questions": questions.name, "k": k, "mode": mode.value, "seed": seed,
        "models": {role: endpoint.model for role, endpoint in endpoints.items()},
        "judge": judging.model if judging else None,
        "prompts": {arm.name: arm.prompt for arm in chosen},
        "index": {"model": opened.manifest["model"], "chunks": opened.manifest["chunks"]},
    }  # fmt: skip
    write_rows(
        [{"id": id, "arm": arm, "question": row["question"], **scored}
         for arm, many in scores.items()
         for id, row, scored in zip(ids, rows, many, strict=True)],
        out / "scores.jsonl",
    )  # fmt: skip
    path = out / "comparison.json"
    path.write_text(json.dumps(comparison, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    show_comparison(comparison, path)
    if any(row["error"] for many in answers.values() for row in many):
        raise typer.Exit(INCOMPLETE)


async def _ask(
    arms: Sequence[Arm], inputs: Inputs, client: Client, out: Path
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, dict[int, list[dict[str, Any]]]]]:
    """Ask one model for its arms, and those with documents again with a growing number of distractors."""
    from tools.raft.arms import ask_arm, read_rows, with_distractors

    answers: dict[str, list[dict[str, Any]]] = {}
    climbed: dict[str, dict[int, list[dict[str, Any]]]] = {}
    async with client:
        for arm in arms:
            path = out / "answers" / f"{arm.name}.jsonl"
            with _bar(f"asking {arm.name}", len(inputs.questions)) as on_answer:
                answers[arm.name] = await ask_arm(
                    arm, inputs.questions, inputs.ids, inputs.documents, client,
                    before=read_rows(path), on_answer=lambda: on_answer(1),
                )  # fmt: skip
            write_rows(answers[arm.name], path)
            if not arm.with_documents or not inputs.ladder:
                continue
            climbed[arm.name] = {}
            given = {
                at: with_distractors(inputs.hits[at], inputs.golds[at], LADDER, inputs.ids[at])
                for at in inputs.ladder
            }
            able = [at for at in inputs.ladder if given[at]]  # the same questions at each count
            with _bar(f"asking {arm.name} with distractors", len(able) * len(LADDER)) as on_answer:
                for step, count in enumerate(LADDER):
                    climbed[arm.name][count] = await ask_arm(
                        arm, [inputs.questions[at] for at in able], [inputs.ids[at] for at in able],
                        [given[at][step] for at in able], client, on_answer=lambda: on_answer(1),
                    )  # fmt: skip
    return answers, climbed


def _score(
    answers: Mapping[str, Sequence[Mapping[str, Any]]], golds: Sequence[Gold], similarity: bool
) -> dict[str, list[Scores]]:
    from tools.raft.embed import Embedder
    from tools.raft.score import score_answers

    embedder = Embedder() if similarity else None
    return {arm: score_answers(rows, golds, embedder=embedder) for arm, rows in answers.items()}


async def _judge(
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    scores: Mapping[str, Sequence[Scores]],
    inputs: Inputs,
    client: Client,
    out: Path,
) -> None:
    """Have all answers judged: the scores join the others, what the judge said goes to judged.jsonl."""
    from tools.raft.judge import ABOUT, judge_answers

    told = []
    async with client:
        for arm, rows in answers.items():
            with _bar(f"judging {arm}", len(rows) * len(ABOUT)) as on_verdict:
                verdicts = await judge_answers(rows, inputs.golds, client, on_verdict=lambda: on_verdict(1))
            for id, scored, of in zip(inputs.ids, scores[arm], verdicts, strict=True):
                scored |= {f"judge_{name}": verdict.score for name, verdict in of.items()}
                told += [{"id": id, "arm": arm, "metric": name, "score": verdict.score, "said": verdict.said,
                          "error": verdict.error} for name, verdict in of.items()]  # fmt: skip
    write_rows(told, out / "judged.jsonl")


def _conclude(
    inputs: Inputs,
    answers: Mapping[str, Sequence[Mapping[str, Any]]],
    scores: Mapping[str, Sequence[Scores]],
    climbed: Mapping[str, Mapping[int, Sequence[Mapping[str, Any]]]],
    price_names: Mapping[str, str],
    prices: Mapping[str, Any],
    dataset: float | None,
    training: float | None,
    seed: int,
) -> dict[str, Any]:
    """Put scores, costs and the runs with distractors together."""
    from tools.raft.arm_cost import cost_arm, pay_back
    from tools.raft.compare import compare_arms, slices_of, summarise_ladder

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
        errors={arm: sum(bool(row["error"]) for row in rows) for arm, rows in answers.items()},
        seed=seed,
    )
    costs = {arm: cost_arm(rows, price_names[arm], prices) for arm, rows in answers.items()}
    comparison["costs"] = costs
    comparison["pay_back"] = {
        arm: pay_back(costs[baseline], cost, dataset=dataset, training=training)
        for arm, cost in costs.items()
        if arm in ("raft", "dsf", "dsf_rag")
    }
    golds = dict(zip(inputs.ids, inputs.golds, strict=True))
    comparison["distractors"] = summarise_ladder(climbed, golds, asked=len(inputs.ladder), seed=seed)
    return comparison


def _dataset_cost(folder: Path | None) -> float | None:
    """Read what a dataset cost off its manifest."""
    from tools.raft.errors import UserError

    if folder is None:
        return None
    path = folder / "manifest.json"
    try:
        cost = json.loads(path.read_text(encoding="utf-8"))["cost_dollars"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} does not say what the dataset cost: name a folder that `generate` made"
        ) from None
    return None if cost is None else float(cost)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far something is."""
    from rich.console import Console
    from rich.progress import Progress

    # In a file a bar that came and went would leave an empty line.
    with Progress(transient=True, refresh_per_second=4, disable=not Console().is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)
