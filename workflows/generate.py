"""The command that runs the generation workflow: python -m workflows.generate."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.verbs.options import INCOMPLETE, BaseUrl, ChunkSize, Connection, Model, Timeout
from workflows.options import choose_endpoints, run_command

if TYPE_CHECKING:
    from tools.raft.generate.settings import DatasetSettings
    from tools.raft.models.endpoint import Endpoint
    from workflows.generation import Chunks, Dataset, Questions


def generate(
    out: Annotated[Path, typer.Option(help="Folder for the dataset.", metavar="DIR")],
    docs: Annotated[
        list[str] | None, typer.Option(help="Documents to split; or give --chunks.", metavar="PATH")
    ] = None,
    chunks: Annotated[
        Path | None, typer.Option(help="A chunks.jsonl of split_documents.", metavar="F.jsonl")
    ] = None,
    questions: Annotated[
        Path | None,
        typer.Option(help="A questions.jsonl about these chunks: nothing is asked.", metavar="F.jsonl"),
    ] = None,
    connection: Connection = None,
    model: Model = "",
    base_url: BaseUrl = "",
    per_chunk: Annotated[
        int, typer.Option("--questions-per-chunk", min=1, max=50, help="Questions asked about a chunk.")
    ] = 5,
    variant: Annotated[
        str, typer.Option(help="Prompt for answers: chain_of_thought or quote_only.")
    ] = "chain_of_thought",
    distractors: Annotated[int, typer.Option(min=0, help="Distractors of a row.")] = 3,
    p: Annotated[float, typer.Option(min=0, max=1, help="Share of the rows with their oracle.")] = 0.8,
    chunk_size: ChunkSize = 512,
    seed: int = 42,
    workers: Annotated[int, typer.Option(min=2, max=64, help="Lanes: calls at a time.")] = 8,
    timeout: Timeout = 120.0,
) -> None:
    """Generate a RAFT dataset with the workflow: the rows of the flows ask_questions and raft_generate.

    [bold]Examples[/bold]

      python -m workflows.generate --docs data/documents/caves.md --out out/dataset --questions-per-chunk 2
      python -m workflows.generate --chunks chunks.jsonl --questions questions.jsonl --out out/dataset

    Run it again after an interruption to resume: no reply is paid for twice.
    Exit status: 0 success, 1 user error, 3 some calls failed (run again), 130 interrupted.
    """
    from tools.raft.errors import AGAIN, UserError
    from tools.raft.files import read_jsonl
    from tools.raft.generate.batches import CHUNKS
    from tools.raft.generate.settings import DatasetSettings
    from tools.raft.ingest.chunks import read_chunks
    from tools.raft.models.embedded import serving_each
    from tools.raft.models.endpoint import TEACHER_MODEL
    from tools.verbs.progress import bar
    from workflows.generation import Chunks, Questions

    if bool(docs) == bool(chunks):
        raise UserError("name the documents with --docs, or their chunks with --chunks")
    endpoints = choose_endpoints(connection, model, base_url, embedded_model=TEACHER_MODEL)
    settings = DatasetSettings(
        questions=per_chunk, distractors=distractors, p=p, seed=seed, chunk_size=chunk_size,
        formats=("chat", "eval"),
    )  # fmt: skip
    if docs:
        chunks = out / CHUNKS
        _split(docs, out, chunk_size)
    assert chunks is not None
    given: Chunks | Questions
    if questions:
        given = Questions([row for _, row in read_jsonl(questions)], chunks, out)
        total = len(given.lines)
    else:
        given = Chunks(list(read_chunks(chunks)), chunks, out)
        total = len(given.chunks) * per_chunk
    with serving_each(endpoints, bar) as live, bar("questions", total) as on_line:
        made, calls = asyncio.run(_run(given, live, settings, variant, workers, timeout, on_line))
    print(f"{calls} calls paid; {made.counts['rows']} rows, {made.counts['rejected']} rejected")
    if made.failed:
        again = "" if AGAIN in made.failed[0] else f"; {AGAIN}"
        print(f"{len(made.failed)} lines failed, the first: {made.failed[0]}{again}")
    print(f"Dataset: {made.counts['rows']} rows in {out}")
    if made.failed:
        raise typer.Exit(INCOMPLETE)


def _split(docs: list[str], out: Path, chunk_size: int) -> None:
    from tools.raft.generate.batches import write_corpus
    from tools.raft.ingest.corpus import collect_chunks
    from tools.verbs.progress import bar

    with bar("reading documents", 0):
        corpus = collect_chunks(docs, chunk_size=chunk_size)
    out.mkdir(parents=True, exist_ok=True)
    write_corpus(out, corpus)


async def _run(
    given: Chunks | Questions,
    endpoints: list[Endpoint],
    settings: DatasetSettings,
    variant: Any,
    workers: int,
    timeout: float,
    on_line: Any,
) -> tuple[Dataset, int]:
    from tools.raft.generate.draft import check_teachers
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.client import Client
    from workflows.generation import build_generation

    check_teachers(endpoints)
    cache = cache_directory(given.out)
    async with Client(endpoints, cache_dir=cache, concurrency=workers, timeout=timeout) as client:
        workflow = build_generation(client, settings, start=type(given), lanes=workers, variant=variant)
        made = None
        async for event in workflow.run(given, stream=True):
            if event.type == "intermediate":
                on_line(event.data)
            elif event.type == "output":
                made = event.data
    assert made is not None
    return made, client.usage.calls


if __name__ == "__main__":
    run_command(generate)
