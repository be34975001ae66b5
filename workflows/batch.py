"""The command that answers a file of questions with the chat workflow: python -m workflows.batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.raft.choices import Prompt
from tools.verbs.options import INCOMPLETE, BaseUrl, Connection, Model, Timeout
from workflows.options import IndexOption, K, ModeOption, choose_endpoints, choose_index, run_command

if TYPE_CHECKING:
    from workflows.session import ChatSession


def batch(
    data: Annotated[
        Path,
        typer.Option(
            help="JSON lines with the inputs of the flow: question, chat_history, …", metavar="F.jsonl"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Output file.", metavar="F.jsonl")],
    connection: Connection = None,
    model: Model = "",
    base_url: BaseUrl = "",
    index: IndexOption = "",
    prompt: Annotated[Prompt, typer.Option(help="Prompt template.")] = "chain_of_thought",
    k: K = 4,
    mode: ModeOption = "fused",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Questions answered at a time.")] = 32,
    timeout: Timeout = 120.0,
) -> None:
    """Answer many questions with the chat workflow: a line of outputs for each, in order.

    [bold]Examples[/bold]

      python -m workflows.batch --data data/questions.jsonl --out out/answers.jsonl
      python -m workflows.batch --data q.jsonl --out base.jsonl --connection openai:gpt-6-luna --prompt plain

    Run it again after an interruption to resume: no reply is paid for twice.
    Exit status: 0 success, 1 user error, 3 some lines failed (run again), 130 interrupted.
    """
    from tools.raft.errors import AGAIN
    from tools.raft.files import read_jsonl, write_jsonl
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.embedded import serving_each
    from tools.verbs.progress import bar
    from workflows.session import ChatSettings, open_retriever, open_session

    endpoints = choose_endpoints(connection, model, base_url)
    lines = [row for _, row in read_jsonl(data)]
    with bar("opening the index", 0):
        retriever = open_retriever(choose_index(index), mode)
    cache = cache_directory(out.parent)

    async def run() -> tuple[list[dict[str, Any]], int]:
        settings = ChatSettings(prompt, k, mode)
        async with open_session(
            retriever, live, settings, cache_dir=cache, workers=workers, timeout=timeout
        ) as session:
            with bar("answering", len(lines)) as on_line:
                rows = await answer_lines(session, lines, workers, on_line)
        return rows, session.usage.calls

    with serving_each(endpoints, bar) as live:
        rows, calls = asyncio.run(run())
    write_jsonl(out, rows)
    failed = [row["error"] for row in rows if row["error"]]
    print(f"{calls} calls paid; {len(failed)} of {len(rows)} lines failed")
    if failed:
        print(f"the first: {failed[0]}" + ("" if AGAIN in failed[0] else f"; {AGAIN}"))
    print(f"Answers: {len(rows) - len(failed)} of {len(rows)} in {out}")
    if failed:
        raise typer.Exit(INCOMPLETE)


async def answer_lines(
    session: ChatSession,
    lines: Sequence[Any],
    workers: int,
    on_line: Callable[[int], None] = lambda count: None,
) -> list[dict[str, Any]]:
    """Answer lines side by side, and return a row for each in their order.

    A row has `line_number`, the inputs under `inputs`, the outputs, and in `error` why there are none: the
    line has a mistake, or its call failed. Raises EndpointRefused if no call can succeed.
    """
    from tools.raft.errors import UserError
    from tools.raft.models.failed_calls import CallFailed, EndpointRefused
    from workflows.inputs import read_turn

    free = asyncio.Semaphore(workers)

    async def answer(number: int, line: Any) -> dict[str, Any]:
        outputs: dict[str, Any] = {}
        error = ""
        async with free:
            try:
                outputs = await session.answer(read_turn(line))
            except EndpointRefused:
                raise
            except CallFailed as failure:
                error = failure.reason
            except UserError as mistake:
                error = str(mistake)
        on_line(1)
        return {"line_number": number, "inputs": line, **outputs, "error": error}

    tasks = [asyncio.create_task(answer(number, line)) for number, line in enumerate(lines)]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:  # if the endpoint refused one, the others must not go on
            task.cancel()


if __name__ == "__main__":
    run_command(batch)
