"""Build a whole RAFT dataset: documents in, verified records and fine-tuning files out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ..dataset.export import make_datasets
from ..dataset.pairs import REJECTED_ANSWERS
from ..dataset.splits import assign_splits, join_chunks
from ..errors import UserError
from ..files import replacing, write_jsonl
from ..ingest.corpus import Corpus
from ..models.batcher import Batcher
from ..models.budget import Budget
from ..models.cache import cache_directory
from ..models.client import Client
from ..models.endpoint import Endpoint
from ..models.usage import Usage, merge_accounts
from ..on_disk import Column, RowFile, RowsById
from ..records import DRILLS, Draft
from .assemble import RowOptions
from .distractors import Distractors
from .draft_several import check_pairs
from .given_questions import GivenQuestion, Locator
from .link import link_chunks
from .rows import Counts, OnRows, Task, check_replies, generate_records
from .settings import DatasetSettings
from .shards import FOLDER as SHARDS, Drafting, Engine, ShardedDrafts, plan_shards
from .tasks import Linked, chunk_tasks, drill_tasks, given_tasks, locate_several, pair_tasks

# Returns what a run used so far: in all, and by endpoint as `Lane.account` has it.
Account = Callable[[], tuple[Usage, list[dict[str, Any]]]]
# Opens the clients; takes the pairs of chunks to ask about, and yields all tasks and the account.
OpenDrafting = Callable[[Linked], AbstractAsyncContextManager[tuple[Iterator[Task], Account]]]


@dataclass
class BuildResult:
    """Result of a dataset build."""

    counts: Counts
    usage: Usage
    endpoints: list[dict[str, Any]]  # what each did, as `Lane.account` returns it
    files: dict[str, dict[str, Any]]  # file name: rows, bytes, sha256
    rejected: Counter[str]  # rows, chunks and documents, by reason
    notes: list[str]  # deviations from the settings
    seconds: float


def build_dataset(
    corpus: Corpus,
    endpoints: Endpoint | Sequence[Endpoint],
    out: Path,
    settings: DatasetSettings,
    *,
    given: Sequence[GivenQuestion] = (),
    workers: int = 32,
    timeout: float = 120.0,
    hedge: bool = False,
    budget: Budget | None = None,
    batcher: Batcher | None = None,
    engine: Engine | None = None,
    on_progress: Callable[[int, int, Counts], None] = lambda done, total, counts: None,
    on_rows: OnRows = lambda records, rejected: None,
) -> BuildResult:
    """Build a dataset from the chunks of a corpus in the folder `out`.

    Writes chunks.jsonl, raft.jsonl, rejected.jsonl and the split files in every format, and
    rejected_answers.jsonl if there are any. All files except the response cache are written anew: replies
    that are paid for come from the cache, and nothing else is reused from an earlier run. `on_rows` is called
    with the accepted and the rejected rows of each task, in order. Raises UserError if the corpus is too
    small or no row passes verification, CallsFailed if not one call brought a usable reply.
    """
    pool = [endpoints] if isinstance(endpoints, Endpoint) else list(endpoints)
    if settings.hops > 1:
        check_pairs(pool[0])
    cache = cache_directory(out)
    locator = Locator(corpus.chunks) if given else None
    needed = locate_several(locator, given, settings)

    @asynccontextmanager
    async def drafting(linked: Linked) -> AsyncIterator[tuple[Iterator[Task], Account]]:
        async with Client(
            pool,
            cache_dir=cache,
            concurrency=workers,
            timeout=timeout,
            hedge=hedge,
            budget=budget,
            batcher=batcher,
        ) as client:

            def account() -> tuple[Usage, list[dict[str, Any]]]:
                return client.usage, [lane.account() for lane in client.lanes]

            first = given_tasks(locator, given, needed, client, settings)
            last = pair_tasks(linked, client, settings)
            if engine is None:
                yield chain(first, chunk_tasks(corpus.chunks, client, settings, workers), last), account
                return
            chunks_file = (out / "chunks.jsonl").resolve()
            shards = list(plan_shards(chunks_file, pool, questions=settings.questions, seed=settings.seed))
            plan = Drafting(
                chunks_file,
                chunks_file.with_name(".cache") / SHARDS,
                pool,
                settings.questions,
                settings.seed,
                cache.resolve() if cache else None,
                workers,
                timeout,
            )
            async with ShardedDrafts(plan, shards, engine) as drafts:
                yield (
                    chain(first, drafts.tasks(), last),
                    lambda: merge_accounts(*account(), drafts.accounts, seconds=drafts.seconds),
                )

    total = len(given) + len(corpus.chunks)
    window = None if batcher else 4 * workers  # a round of batches is of all tasks
    joined = [ids for ids in needed.values() if not isinstance(ids, str)]
    return _write_dataset(corpus, drafting, out, settings, total, window, on_progress, on_rows, joined)


def assemble_dataset(
    corpus: Corpus, drafts: Iterable[Sequence[Draft]], out: Path, settings: DatasetSettings, *, total: int
) -> BuildResult:
    """Build a dataset from verified and rejected drafts, those about each of `total` chunks together.

    What is written, and what is raised, is as in `build_dataset`; no call is made.
    """
    if settings.hops > 1:
        raise UserError(
            "questions about two documents are drafted by `generate`, not elsewhere: use --hops 1"
        )

    @asynccontextmanager
    async def drafted(linked: Linked) -> AsyncIterator[tuple[Iterator[Task], Account]]:
        yield (partial(_return, part) for part in drafts), lambda: (Usage(), [])

    return _write_dataset(corpus, drafted, out, settings, total)


def _write_dataset(
    corpus: Corpus,
    drafting: OpenDrafting,
    out: Path,
    settings: DatasetSettings,
    total: int,
    window: int | None = 64,
    on_progress: Callable[[int, int, Counts], None] = lambda done, total, counts: None,
    on_rows: OnRows = lambda records, rejected: None,
    joined: Sequence[Sequence[str]] = (),
) -> BuildResult:
    """Run `total` drafting tasks, those of pairs and the drills, and write the dataset that they make.

    window: how many tasks run at a time; None for all. joined: the ids of chunks that given questions need
    together.
    """
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    ids = Column(corpus.chunks, "id")
    # Where oracles are left out, other chunks take their places.
    smallest = settings.distractors + 1 + max([settings.hops, *map(len, joined)])
    splits, notes = assign_splits(
        ids, seed=settings.seed, valid=settings.valid, test=settings.test, smallest=smallest
    )
    if joined:
        splits, moved = join_chunks(splits, joined, ids, smallest=smallest)
        notes += moved
    # Rows of an earlier run must not be left beside the chunks of this one.
    raft, rejected, answers = out / "raft.jsonl", out / "rejected.jsonl", out / REJECTED_ANSWERS
    raft.unlink(missing_ok=True)
    write_jsonl(out / "chunks.jsonl", corpus.chunks)
    write_jsonl(rejected, corpus.rejected)
    chunks = RowFile(out / "chunks.jsonl")

    drills = partial(drill_tasks, chunks, splits, settings)
    pairs = link_chunks(chunks, splits, seed=settings.seed) if settings.hops > 1 else []
    by_id = RowsById(chunks)
    total += sum(1 for _ in drills()) + len(pairs)

    async def run(staging: Path) -> tuple[Counts, Usage, list[dict[str, Any]]]:
        linked = (([by_id[id] for id in pair["ids"]], pair["link"]) for pair in pairs)
        async with drafting(linked) as (tasks, account):
            done = iter(range(1, total + 1))
            counts = await generate_records(
                chain(tasks, drills()),
                staging,
                rejected,
                answers,
                chunks=by_id,
                distractors=Distractors(chunks, splits, settings.negatives, same_source=settings.same_source),
                options=_row_options(settings),
                window=total if window is None else window,
                on_done=lambda counts: on_progress(next(done), total, counts),
                on_rows=on_rows,
            )
            return counts, *account()

    with replacing(raft) as staging:
        counts, usage, endpoints = asyncio.run(run(staging))
    if not answers.stat().st_size:
        answers.unlink()
    if counts.rows == counts.accepted[DRILLS]:
        check_replies(counts)
        raise UserError(f"no row passed verification{_main_reason(counts)}: see each reason in {rejected}")
    files, findings = make_datasets(
        raft, out, formats=settings.formats, share=settings.p, order=settings.order
    )
    notes += [str(finding) for finding in findings if finding.severity != "note"]
    reasons = counts.rejected + Counter(str(row["reason"]) for row in corpus.rejected)
    return BuildResult(counts, usage, endpoints, files, reasons, notes, time.monotonic() - started)


def _main_reason(counts: Counts) -> str:
    ((reason, times),) = counts.rejected.most_common(1) or [("", 0)]
    return f" ({times} of {counts.rejected.total()}: {reason})" if reason else ""


def _row_options(settings: DatasetSettings) -> RowOptions:
    focus = None
    if settings.focus:
        from ..models.embed import Embedder
        from ..rag.focus import Focus
        from ..rag.sentences import Sentences

        focus = Focus(Sentences(Embedder()), share=settings.focus_share)
    return RowOptions(
        settings.distractors, settings.p, settings.seed, settings.no_oracle, settings.order, focus
    )


async def _return(drafts: Sequence[Draft]) -> list[Draft]:
    return list(drafts)
