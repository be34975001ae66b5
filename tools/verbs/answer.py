"""answer: questions and an index → answers with their sources."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.verbs.options import (
    INCOMPLETE,
    ApiKind,
    BaseUrl,
    Connection,
    Model,
    Timeout,
    named_endpoint,
    running,
)

if TYPE_CHECKING:
    from tools.raft.chat import Answers
    from tools.raft.client import Usage
    from tools.raft.endpoint import Endpoint


class Mode(str, Enum):
    """How documents are found."""

    lexical = "lexical"
    dense = "dense"
    fused = "fused"


class Prompt(str, Enum):
    """What the model is told, as in the variants of flows/chat_rag."""

    chain_of_thought = "chain_of_thought"
    plain = "plain"
    few_shot = "few_shot"
    closed_book = "closed_book"


def answer(
    questions: Annotated[
        Path, typer.Option(help='JSON lines with "question", perhaps "chat_history".', metavar="F.jsonl")
    ],
    index: Annotated[Path, typer.Option(help="Folder that `index` made.", metavar="DIR")],
    out: Annotated[Path, typer.Option(help="File for the answers.", metavar="F.jsonl")],
    connection: Connection = "",
    model: Model = "",
    base_url: BaseUrl = "",
    api: ApiKind = None,
    k: Annotated[int, typer.Option(min=0, max=100, help="Documents given to the model.")] = 4,
    mode: Annotated[Mode, typer.Option(help="How documents are found.")] = Mode.fused,
    prompt: Annotated[Prompt, typer.Option(help="What the model is told.")] = Prompt.chain_of_thought,
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Calls at a time.")] = 32,
    timeout: Timeout = 120.0,
) -> None:
    """Answer many questions from an index, as the chat flows do.

    [bold]Examples[/bold]

      python -m tools answer --questions data/questions.jsonl --index index --out out/answers.jsonl
      python -m tools answer --questions q.jsonl --index index --out rag.jsonl --connection openai:gpt-4o

    Run it again after an interruption: replies that were paid for are not paid for twice.
    Exit status: 0 all well, 1 a mistake, 3 the endpoint failed on some calls (run again), 130 interrupted.
    """
    from rich.console import Console

    from tools.connections import lookup
    from tools.raft.cache import cache_directory
    from tools.raft.chat import read_asked
    from tools.raft.index import open_index

    endpoint = named_endpoint(connection, model, base_url, api)
    rows = read_asked(questions)
    opened = open_index(index, lookup=lookup)
    begun = time.monotonic()
    with running(endpoint) as live:
        answers, usage = produce(
            rows, opened, live, cache_directory(out.parent), k=k, mode=mode.value, prompt=prompt.value,
            workers=workers, timeout=timeout,
        )  # fmt: skip
    write_rows(answers.rows, out)
    console = Console(highlight=False)
    refused = sum(not row["answered"] and not row["error"] for row in answers.rows)
    console.print(
        f"{usage.calls} calls paid now, {usage.cached_calls} out of the cache, {usage.retries} retries; "
        f"{refused} questions not answered; {time.monotonic() - begun:.1f} s"
    )
    if answers.failed:
        why = next(row["error"] for row in answers.rows if row["error"])
        console.print(
            f"{answers.failed} of {len(rows)} calls failed, the first: {why}; run the same command again",
            style="red",
            markup=False,
        )
    console.print(f"Answers: {len(rows) - answers.failed} of {len(rows)} in {out}", soft_wrap=True)
    if answers.failed:
        raise typer.Exit(INCOMPLETE)


def produce(
    rows: Sequence[dict[str, Any]],
    index: Any,
    endpoint: Endpoint,
    cache: Path | None,
    *,
    workers: int,
    timeout: float,
    **how: Any,
) -> tuple[Answers, Usage]:
    """Answer with a bar that shows how far it is."""
    from rich.progress import Progress

    from tools.raft.chat import answer_questions
    from tools.raft.client import Client

    async def run() -> tuple[Answers, Usage]:
        client = Client(endpoint, cache_dir=cache, concurrency=workers, timeout=timeout)
        async with client:
            with Progress(transient=True, refresh_per_second=4) as bar:
                task = bar.add_task("answering", total=len(rows))
                answers = await answer_questions(
                    rows, index, client, on_answer=lambda: bar.advance(task), **how
                )
        return answers, client.usage

    return asyncio.run(run())


def write_rows(rows: Sequence[dict[str, Any]], out: Path) -> None:
    """Write JSON lines, the whole file or nothing."""
    from tools.raft.errors import UserError

    staged = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with staged.open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        os.replace(staged, out)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from None
