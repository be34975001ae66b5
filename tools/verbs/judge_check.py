"""judge-check: a judge and labelled answers → how far they agree."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def judge_check(
    judge: Annotated[str, typer.Option(help="Model that judges: CONNECTION[:MODEL] or URL:MODEL.")],
    out: Annotated[Path, typer.Option(help="Folder for the result.", metavar="DIR")],
    pairs: Annotated[
        Path | None, typer.Option(help="Labelled answers, if not those of data/judge.", metavar="F.jsonl")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")] = 32,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds before a call is tried again.")] = 120.0,
) -> None:
    """Say how far a judge agrees with labels, and whether length or position sway it.

    [bold]Example[/bold]

      python -m tools judge-check --judge azure_openai:gpt-4o --out out/judge

    Do this before you believe the judge's scores in `compare`. What it said is in DIR/judge.json.
    """
    from rich.console import Console

    from tools.connections import lookup
    from tools.raft.evaluate.judge import judge_hash
    from tools.raft.evaluate.judge_agreement import PAIRS, judge_pairs, measure_agreement, read_pairs
    from tools.raft.evaluate.metrics import JUDGEMENTS
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.client import Client
    from tools.raft.models.embedded import fitting_concurrency, serving
    from tools.raft.models.endpoint import Endpoint, resolve_endpoint

    endpoint = resolve_endpoint(judge, lookup=lookup)
    labelled = read_pairs(pairs or PAIRS)

    async def run(live: Endpoint) -> Any:
        concurrency = fitting_concurrency(live, workers)
        async with Client(
            live, cache_dir=cache_directory(out), concurrency=concurrency, timeout=timeout
        ) as client:
            return await judge_pairs(labelled, client)

    with serving(endpoint) as live:
        verdicts, turned = asyncio.run(run(live))
    told = measure_agreement(labelled, verdicts, turned)
    told |= {"judge": endpoint.model, "pairs": len(labelled), "prompt_hash": judge_hash(tuple(JUDGEMENTS))}
    out.mkdir(parents=True, exist_ok=True)
    path = out / "judge.json"
    said = [
        {"id": pair["id"], **{name: vars(one) for name, one in of.items()}}
        for pair, of in zip(labelled, verdicts, strict=True)
    ]
    path.write_text(json.dumps({**told, "said": said}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    console = Console(highlight=False)
    _show(told, console)
    console.print(f"Judge: {endpoint.model} on {len(labelled)} labelled answers, in {path}", soft_wrap=True)


def _show(told: Mapping[str, Any], console: Any) -> None:
    from rich.table import Table

    from tools.raft.evaluate.report.text import show_interval

    table = Table(
        "judgement", "n", "missing", "exact", "within one", "judge less label", "correlation", "kappa"
    )
    for name, of in told["judgements"].items():
        if not of["n"]:
            table.add_row(name, "0", str(of["missing"]), *["–"] * 5)
            continue
        numbers = [of["within_one"], of["error"], of["correlation"], of["kappa"]]
        shown = ["–" if number is None else f"{number:.2f}" for number in numbers]
        table.add_row(
            name, str(of["n"]), str(of["missing"]), show_interval(of["exact"]["mean"], of["exact"]), *shown
        )
    console.print(table)
    for name, meaning in (
        ("length", "the longer of two answers that say the same is scored higher by"),
        ("position", "with the documents turned round, groundedness is scored higher by"),
        ("moved", "share of the answers whose groundedness changes with them"),
    ):
        if told[name]["mean"] is not None:
            console.print(
                f"{name}: {meaning} {show_interval(told[name]['mean'], told[name])}, n {told[name]['n']}"
            )
