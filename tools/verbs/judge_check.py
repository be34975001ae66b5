"""judge-check: a judge and labelled answers → their agreement."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tools.verbs.options import MaxCalls, MaxCost, MlflowOption, Prices, Timeout, make_budget


def judge_check(
    judge: Annotated[str, typer.Option(help="Judge model: CONNECTION[:MODEL] or URL:MODEL.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.", metavar="DIR")],
    pairs: Annotated[
        Path | None, typer.Option(help="Labelled answers; by default those in data/judge.", metavar="F.jsonl")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Maximum concurrent calls.")] = 32,
    timeout: Timeout = 120.0,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    prices: Prices = None,
    mlflow: MlflowOption = False,
) -> None:
    """Measure how well a judge agrees with labels, and whether it is biased by length or position.

    [bold]Example[/bold]

      python -m tools judge-check --judge azure_openai:gpt-5.6-luna --out out/judge

    Run this before trusting the judge's scores in `compare`. Its replies are in DIR/judge.json.
    """
    from rich.console import Console

    from tools.connections import lookup_without_file
    from tools.raft.evaluate.judge import judge_hash
    from tools.raft.evaluate.judge_agreement import PAIRS, judge_pairs, measure_agreement, read_pairs
    from tools.raft.evaluate.metrics import JUDGEMENTS
    from tools.raft.files import write_json
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.client import Client
    from tools.raft.models.embedded import serving
    from tools.raft.models.endpoint import Endpoint, fitting_concurrency, resolve_endpoint
    from tools.raft.models.pricing import load_prices
    from tools.raft.share.tracking import open_tracker
    from tools.verbs.progress import bar

    tracker = open_tracker() if mlflow else None
    endpoint = resolve_endpoint(judge, lookup=lookup_without_file)
    labelled = read_pairs(pairs or PAIRS)
    budget = make_budget(max_cost, max_calls, load_prices(prices), [endpoint])

    async def run(live: Endpoint) -> Any:
        concurrency = fitting_concurrency([live], workers)
        async with Client(
            live, cache_dir=cache_directory(out), concurrency=concurrency, timeout=timeout, budget=budget
        ) as client:
            # Every judgement of every answer, and groundedness once more.
            with bar("judging", len(labelled) * (len(JUDGEMENTS) + 1)) as on_verdict:
                return await judge_pairs(labelled, client, on_verdict=lambda: on_verdict(1))

    with serving(endpoint, bar) as live:
        verdicts, reversed_verdicts = asyncio.run(run(live))
    agreement = measure_agreement(labelled, verdicts, reversed_verdicts)
    agreement |= {
        "judge": endpoint.model,
        "pairs": len(labelled),
        "prompt_hash": judge_hash(tuple(JUDGEMENTS)),
    }
    out.mkdir(parents=True, exist_ok=True)
    path = out / "judge.json"
    replies = [
        {"id": pair["id"], **{name: vars(verdict) for name, verdict in by_name.items()}}
        for pair, by_name in zip(labelled, verdicts, strict=True)
    ]
    write_json(path, {**agreement, "said": replies}, indent=1)
    console = Console(highlight=False)
    _show(agreement, console)
    console.print(f"Judge: {endpoint.model} on {len(labelled)} labelled answers, in {path}", soft_wrap=True)
    if tracker:
        settings = {name: agreement.pop(name) for name in ("judge", "prompt_hash")}
        print(tracker.log_measurement("judge-check", out, settings, agreement))


def _show(agreement: Mapping[str, Any], console: Any) -> None:
    from rich.table import Table

    from tools.raft.evaluate.report.text import show_interval

    table = Table(
        "judgement", "n", "missing", "exact", "within one", "judge minus label", "correlation", "kappa"
    )
    for name, result in agreement["judgements"].items():
        if not result["n"]:
            table.add_row(name, "0", str(result["missing"]), *["–"] * 5)
            continue
        numbers = [result["within_one"], result["error"], result["correlation"], result["kappa"]]
        shown = ["–" if number is None else f"{number:.2f}" for number in numbers]
        table.add_row(
            name,
            str(result["n"]),
            str(result["missing"]),
            show_interval(result["exact"]["mean"], result["exact"]),
            *shown,
        )
    console.print(table)
    for name, meaning in (
        ("length", "the longer of two equivalent answers is scored higher by"),
        ("position", "with the documents in reverse order, groundedness is scored higher by"),
        ("moved", "share of the answers whose groundedness changes with the order"),
    ):
        bias = agreement[name]
        if bias["mean"] is not None:
            console.print(f"{name}: {meaning} {show_interval(bias['mean'], bias)}, n {bias['n']}")
