"""generate: documents → a verified RAFT dataset."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import FOCUS_SHARE, Chunking, EngineName
from tools.raft.errors import UserError
from tools.verbs.options import (
    INCOMPLETE,
    ApiKind,
    BaseUrl,
    Batch,
    BatchFiles,
    ChunkSize,
    Connection,
    FocusOption,
    FocusShare,
    Hedge,
    MaxCalls,
    MaxCost,
    MaxFileMb,
    Model,
    MorePaths,
    NegativesOption,
    NoOracleOption,
    Ocr,
    OrderOption,
    ParseMemory,
    ParseSeconds,
    Prices,
    Strict,
    Timeout,
    make_batcher,
    make_budget,
    named_endpoints,
    read_options,
)

if TYPE_CHECKING:
    from tools.raft.dataset.student import Student
    from tools.raft.generate.settings import DatasetSettings
    from tools.raft.generate.shards import Engine
    from tools.raft.ingest.corpus import Corpus
    from tools.raft.ingest.read import ReadOptions
    from tools.raft.models.endpoint import Endpoint


def generate(
    docs: Annotated[
        list[str], typer.Option(help="Files, folders or globs; may be repeated.", metavar="PATH…")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.", metavar="DIR")],
    more: MorePaths = None,
    connection: Connection = None,
    model: Model = "",
    base_url: BaseUrl = "",
    api: ApiKind = None,
    student: Annotated[
        str,
        typer.Option(
            "--for",
            help="Model to be tuned, as `finetune --model` takes it: its context limits the rows.",
            metavar="MODEL",
        ),
    ] = "",
    questions: Annotated[int, typer.Option(min=1, max=50, help="Questions per chunk.")] = 5,
    distractors: Annotated[int, typer.Option(min=0, max=50, help="Distractors per question.")] = 3,
    p: Annotated[
        float, typer.Option(min=0, max=1, help="Probability that the oracle is among the documents.")
    ] = 0.8,
    negatives: NegativesOption = "lexical",
    same_source: Annotated[
        bool, typer.Option("--same-source", help="Have one distractor from the question's own document.")
    ] = False,
    no_oracle: NoOracleOption = "keep",
    order: OrderOption = "shuffled",
    focus: FocusOption = False,
    focus_share: FocusShare = FOCUS_SHARE,
    chunk_size: ChunkSize = 512,
    chunking: Annotated[
        Chunking, typer.Option(help="Split at headings and sentences, or where the topic changes.")
    ] = "text",
    tokenizer: Annotated[Path | None, typer.Option(help="tokenizer.json used to count tokens.")] = None,
    questions_file: Annotated[
        Path | None,
        typer.Option(
            help="Your own questions: JSONL with question and, if known, answer, source, chunk_id; "
            "oracles lists several sources or chunks that are all needed."
        ),
    ] = None,
    hops: Annotated[
        int,
        typer.Option(
            min=1, max=2, help="2: also questions about pairs of linked chunks, which need both documents."
        ),
    ] = 1,
    drills: Annotated[
        int,
        typer.Option(min=0, max=100, help="Rule-based cloze drills per chunk, for a local training."),
    ] = 0,
    format: Annotated[
        list[str], typer.Option(help="hf, chat, completion, dsf, dpo, eval or parquet; may be repeated.")
    ] = ["chat"],  # noqa: B006
    valid: Annotated[float, typer.Option(min=0, max=1, help="Share of chunks for validation.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of chunks for testing.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Seed of splits, distractors and document order.")] = 42,
    workers: Annotated[
        int, typer.Option(min=1, help="Maximum concurrent calls; adapts to rate limits.")
    ] = 32,
    timeout: Timeout = 120.0,
    hedge: Hedge = False,
    engine: Annotated[
        EngineName, typer.Option(help="Where rows are drafted: in this process, or on a Ray cluster.")
    ] = "local",
    ray_address: Annotated[
        str, typer.Option(help="The cluster's address, or auto; by default one is started here.")
    ] = "",
    actors: Annotated[int, typer.Option(min=1, help="Ray actors, which share --workers.")] = 4,
    batch: Batch = False,
    batch_files: BatchFiles = None,
    max_cost: MaxCost = None,
    max_calls: MaxCalls = None,
    prices: Prices = None,
    strict: Strict = False,
    ocr: Ocr = "",
    max_file_mb: MaxFileMb = 50,
    parse_seconds: ParseSeconds = 60.0,
    parse_memory: ParseMemory = 2048,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print chunks, calls, tokens and dollars; make no call.")
    ] = False,
) -> None:
    """Build a verified RAFT dataset from documents.

    [bold]Examples[/bold]

      python -m tools generate --docs data/documents --out out
      python -m tools generate --docs manuals/*.pdf --out out --connection azure_openai:gpt-5.6-luna --dry-run
      python -m tools generate --docs manuals --out out --base-url http://localhost:8000/v1 --model llama-3
      python -m tools generate --docs manuals --out out --connection http://10.0.0.4/v1:llama-3
        --connection http://10.0.0.5/v1:llama-3 --connection serverless:llama-3 --hedge
      python -m tools generate --docs manuals --out out --connection openai:gpt-6-luna --batch --max-cost 20

    Run it again after an interruption to resume: no reply is paid for twice.
    Exit status: 0 success, 1 user error, 3 some endpoint calls failed (run again), 130 interrupted.
    """
    from tools.raft.generate.ray_engine import draft_on_ray
    from tools.raft.generate.settings import DatasetSettings
    from tools.raft.models.endpoint import TEACHER_MODEL

    if engine == "ray" and (batch or batch_files or hedge or max_cost is not None or max_calls is not None):
        raise UserError(
            "--engine ray goes without --batch, --hedge and ceilings: its actors share no account"
        )
    endpoints = named_endpoints(connection, model, base_url, api, embedded_model=TEACHER_MODEL)
    settings = DatasetSettings(
        questions=questions,
        distractors=distractors,
        p=p,
        seed=seed,
        negatives=negatives,
        same_source=same_source,
        no_oracle=no_oracle,
        order=order,
        focus=focus,
        focus_share=focus_share,
        valid=valid,
        test=test,
        chunk_size=chunk_size,
        chunking=chunking,
        drills=drills,
        hops=hops,
        formats=tuple(format),
    )
    produce(
        [*docs, *(more or [])],
        out,
        endpoints,
        settings,
        hedge=hedge,
        questions_file=questions_file,
        tokenizer=tokenizer,
        workers=workers,
        timeout=timeout,
        engine=partial(draft_on_ray, address=ray_address, actors=actors) if engine == "ray" else None,
        batch=batch,
        batch_files=batch_files,
        max_cost=max_cost,
        max_calls=max_calls,
        prices=prices,
        student=student,
        reading=read_options(strict, ocr, max_file_mb, parse_seconds, parse_memory),
        dry_run=dry_run,
    )


def produce(
    docs: Sequence[str],
    out: Path,
    endpoints: Sequence[Endpoint],
    settings: DatasetSettings,
    *,
    hedge: bool = False,
    questions_file: Path | None = None,
    tokenizer: Path | None = None,
    workers: int = 32,
    timeout: float = 120.0,
    engine: Engine | None = None,
    batch: bool = False,
    batch_files: Path | None = None,
    max_cost: float | None = None,
    max_calls: int | None = None,
    prices: Path | None = None,
    student: str = "",
    reading: ReadOptions | None = None,
    dry_run: bool = False,
) -> None:
    """Generate a dataset with its progress shown; exit with status 3 if rows are missing."""
    from tools.raft.dataset.export import check_formats
    from tools.raft.dataset.student import open_student
    from tools.raft.generate.draft import check_teachers
    from tools.raft.generate.draft_several import check_pairs
    from tools.raft.generate.given_questions import read_given_questions
    from tools.raft.generate.pipeline import build_dataset
    from tools.raft.generate.summarise import summarise
    from tools.raft.ingest.corpus import collect_chunks
    from tools.raft.models.cache import cache_directory
    from tools.raft.models.embedded import serving_each
    from tools.raft.models.endpoint import fitting_concurrency
    from tools.raft.models.pricing import BATCH_SHARE, load_prices
    from tools.verbs import progress, show

    # Mistakes in the options are found before anything is read or paid for.
    check_formats(settings.formats)
    check_teachers(endpoints)
    if settings.hops > 1:
        check_pairs(endpoints[0])
    endpoint = endpoints[0]
    table = load_prices(prices)
    batcher = make_batcher(endpoints, cache_directory(out), batch=batch, batch_files=batch_files)
    budget = make_budget(max_cost, max_calls, table, endpoints)
    tuned = open_student(student, table) if student else None
    given = read_given_questions(questions_file) if questions_file else []
    with progress.reading() as on_page:
        corpus = collect_chunks(
            docs,
            chunk_size=settings.chunk_size,
            tokenizer=tokenizer,
            mode=settings.chunking,
            reading=reading,
            on_disk=True,
            on_page=on_page,
        )
    show.corpus(corpus, endpoint, given)
    # What the embedded teacher writes is trained on here, unless another student is named.
    _check_lengths(corpus, tuned, settings, implied="embedded" if endpoint.constrained else "")
    if dry_run:
        share = BATCH_SHARE if batch else 1.0
        show.estimate(corpus, endpoint, settings, given=len(given), prices=table, share=share)
        return
    with serving_each(endpoints, progress.bar) as live, progress.generating() as on_progress:
        result = build_dataset(
            corpus,
            live,
            out,
            settings,
            given=given,
            workers=fitting_concurrency(live, workers),
            timeout=timeout,
            hedge=hedge,
            budget=budget,
            batcher=batcher,
            engine=engine,
            on_progress=on_progress,
        )
    manifest = summarise(result, corpus, live, out, settings, prices=table, student=tuned)
    show.dataset(result, manifest, out)
    if result.counts.missing:
        raise typer.Exit(INCOMPLETE)


def _check_lengths(
    corpus: Corpus, student: Student | None, settings: DatasetSettings, *, implied: str
) -> None:
    """Warn of rows that the student cannot be trained on, before they are paid for; refuse if most are."""
    from tools.raft.dataset.student import open_student
    from tools.raft.generate.row_lengths import forecast_rows, surely_fit
    from tools.verbs import show

    if student is None and implied:
        student = open_student(implied)
        if student.context and surely_fit(corpus.chunks, student.context, distractors=settings.distractors):
            return  # without loading the tokenizer, which takes seconds
    if student and (forecast := forecast_rows(corpus.chunks, student, distractors=settings.distractors)):
        show.forecast(forecast)
