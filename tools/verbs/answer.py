"""answer: questions and an index → answers with sources."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.raft.choices import FOCUS_SHARE, Mode, Prompt
from tools.verbs.options import (
    INCOMPLETE,
    AlwaysAnswer,
    ApiKind,
    BaseUrl,
    Batch,
    BatchFiles,
    Connection,
    FocusOption,
    FocusShare,
    Hedge,
    MaxCalls,
    MaxCost,
    Model,
    Prices,
    QuotesOption,
    Timeout,
    make_batcher,
    make_budget,
    named_endpoints,
)

if TYPE_CHECKING:
    from tools.raft.models.batcher import Batcher
    from tools.raft.models.budget import Budget
    from tools.raft.models.client import Client
    from tools.raft.models.endpoint import Endpoint
    from tools.raft.rag.answer import Answers


def answer(
    questions: Annotated[
        Path,
        typer.Option(help='JSON lines: "question", optionally "chat_history".', metavar="F.jsonl"),
    ],
    index: Annotated[Path, typer.Option(help="Folder that `index` wrote.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="Output file for the answers.", metavar="F.jsonl")],
    connection: Connection = None,
    model: Model = "",
    base_url: BaseUrl = "",
    api: ApiKind = None,
    k: Annotated[int, typer.Option(min=0, max=100, help="Documents retrieved per question.")] = 4,
    mode: Annotated[Mode, typer.Option(help="Retrieval mode.")] = "fused",
    focus: FocusOption = False,
    focus_share: FocusShare = FOCUS_SHARE,
    always_answer: AlwaysAnswer = False,
    quotes: QuotesOption = "free",
    prompt: Annotated[Prompt, typer.Option(help="Prompt template.")] = "chain_of_thought",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Maximum concurrent calls.")] = 32,
    timeout: Timeout = 120.0,
    hedge: Hedge = False,
    batch: Batch = False,
    batch_files: BatchFiles = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    prices: Prices = None,
) -> None:
    """Answer many questions from an index, as the chat flows do.

    [bold]Examples[/bold]

      python -m tools answer --questions data/questions.jsonl --index index --out out/answers.jsonl
      python -m tools answer --questions q.jsonl --index index --out rag.jsonl --connection openai:gpt-6-luna

    Run it again after an interruption to resume: no reply is paid for twice.
    Exit status: 0 success, 1 user error, 3 some endpoint calls failed (run again), 130 interrupted.
    """
    from rich.console import Console

    from tools.connections import lookup_without_file
    from tools.raft.errors import AGAIN
    from tools.raft.files import write_jsonl
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.embedded import serving_each
    from tools.raft.models.pricing import load_prices
    from tools.raft.rag.answer import read_chat_questions
    from tools.raft.rag.answerability import open_answerability
    from tools.raft.rag.focus import Focus
    from tools.raft.rag.index import open_index
    from tools.verbs.progress import bar
    from tools.verbs.show_endpoints import show_endpoints

    endpoints = named_endpoints(connection, model, base_url, api)
    cache = cache_directory(out.parent)
    batcher = make_batcher(endpoints, cache, batch=batch, batch_files=batch_files)
    budget = make_budget(max_cost, max_calls, load_prices(prices), endpoints)
    rows = read_chat_questions(questions)
    with bar("opening the index", 0):
        opened = open_index(index, lookup=lookup_without_file)
    started = time.monotonic()
    with serving_each(endpoints, bar) as live:
        answers, client = produce(
            rows, opened, live, cache, k=k, mode=mode, prompt=prompt,
            focus=Focus(opened.sentences, share=focus_share) if focus else None,
            answerability=open_answerability(opened, k=k, mode=mode, always_answer=always_answer),
            quotes=quotes, workers=workers, timeout=timeout, hedge=hedge, budget=budget,
            batcher=batcher,
        )  # fmt: skip
    write_jsonl(out, answers.rows)
    usage = client.usage
    console = Console(highlight=False)
    refused = sum(not row["answered"] and not row["error"] for row in answers.rows)
    unasked = sum(
        bool(row["refusal"]) and not row["finish_reason"] for row in answers.rows if not row["error"]
    )
    without_call = f", {unasked} of them without a call" if unasked else ""
    console.print(
        f"{usage.calls} calls paid, {usage.cached_calls} cache hits, {usage.retries} retries; "
        f"{refused} questions not answered{without_call}; {time.monotonic() - started:.1f} s",
        soft_wrap=True,
    )
    show_endpoints([lane.account() for lane in client.lanes], console)
    if answers.failed:
        first_error = next(row["error"] for row in answers.rows if row["error"])
        console.print(
            f"{answers.failed} of {len(rows)} calls failed, the first: {first_error}"
            + ("" if AGAIN in first_error else f"; {AGAIN}"),
            style="red",
            markup=False,
        )
    console.print(f"Answers: {len(rows) - answers.failed} of {len(rows)} in {out}", soft_wrap=True)
    if answers.failed:
        raise typer.Exit(INCOMPLETE)


def produce(
    rows: Sequence[dict[str, Any]],
    index: Any,
    endpoints: Sequence[Endpoint],
    cache: Path | None,
    *,
    workers: int,
    timeout: float,
    hedge: bool = False,
    budget: Budget | None = None,
    batcher: Batcher | None = None,
    **options: Any,
) -> tuple[Answers, Client]:
    """Answer the questions behind a progress bar; also return the client, which is closed."""
    from tools.raft.models.client import Client
    from tools.raft.rag.answer import answer_questions
    from tools.verbs.progress import bar

    async def run() -> tuple[Answers, Client]:
        client = Client(
            endpoints, cache_dir=cache, concurrency=workers, timeout=timeout, hedge=hedge, budget=budget,
            batcher=batcher,
        )  # fmt: skip
        async with client:
            with bar("answering", len(rows)) as on_answer:
                answers = await answer_questions(
                    rows, index, client, on_answer=lambda row: on_answer(1), **options
                )
        return answers, client

    return asyncio.run(run())
