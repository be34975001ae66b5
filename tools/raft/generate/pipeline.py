"""Build a whole RAFT dataset: documents in, verified records and fine-tuning files out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ..choices import FOCUS_SHARE, Chunking, Negatives, NoOracle, Order, check_choice
from ..dataset.card import write_card, write_manifest
from ..dataset.export import PROMPT as RAFT_PROMPT, make_datasets
from ..dataset.pairs import REJECTED_ANSWERS, sum_pairs
from ..dataset.splits import assign_splits, join_chunks
from ..dataset.student import Student
from ..errors import UserError
from ..files import describe_file, replacing, write_jsonl
from ..ingest.corpus import Corpus
from ..models.batcher import Batcher
from ..models.budget import Budget
from ..models.cache import cache_directory
from ..models.client import Client
from ..models.endpoint import Endpoint
from ..models.pricing import BATCH_SHARE, Price, dollars
from ..models.usage import Usage, merge_accounts
from ..on_disk import Column, RowFile, RowsById
from ..prompts import prompt_hash
from ..records import DRILLS, Chunk, Draft, new_draft
from .assemble import RowOptions
from .distractors import Distractors
from .draft import choose_teacher, draft_given, draft_rows
from .draft_several import check_pairs, draft_pair, draft_several, prompts as several_prompts
from .given_questions import GivenQuestion, Locator
from .link import link_chunks
from .row_lengths import measure_longest
from .rows import Counts, OnRows, Task, check_replies, generate_records
from .shards import FOLDER as SHARDS, Drafting, Engine, ShardedDrafts, plan_shards
from .small_model.drills import make_drills


@dataclass(frozen=True)
class DatasetSettings:
    """What determines a dataset besides its documents and its model, all recorded in the manifest."""

    questions: int = 5
    distractors: int = 3
    p: float = 0.8
    seed: int = 42
    negatives: Negatives = "lexical"
    same_source: bool = False  # whether one distractor is from the oracle's own document
    no_oracle: NoOracle = "keep"
    order: Order = "shuffled"
    focus: bool = False  # whether instructions have the documents cut to their best sentences
    focus_share: float = FOCUS_SHARE
    valid: float = 0.1
    test: float = 0.1
    chunk_size: int = 512
    chunking: Chunking = "text"
    drills: int = 0
    hops: int = 1  # 2: questions about pairs of linked chunks, too
    formats: tuple[str, ...] = ("chat",)

    def __post_init__(self) -> None:
        check_choice("negatives", self.negatives, Negatives)
        check_choice("no_oracle", self.no_oracle, NoOracle)
        check_choice("order", self.order, Order)
        check_choice("chunking", self.chunking, Chunking)
        if self.hops not in (1, 2):
            raise UserError(f"hops: {self.hops} is neither 1 nor 2")
        if self.hops > self.distractors + 1:
            raise UserError("two documents do not fit into a row of one: raise --distractors to 1 or more")


# Returns what a run used so far: in all, and by endpoint as `Lane.account` has it.
Account = Callable[[], tuple[Usage, list[dict[str, Any]]]]
Linked = Iterable[tuple[list[Chunk], str]]  # the chunks of each pair, and what links them
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
    needed = _locate_several(locator, given, settings)

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

            first = _given_tasks(locator, given, needed, client, settings)
            last = _pair_tasks(linked, client, settings)
            if engine is None:
                yield chain(first, _chunk_tasks(corpus.chunks, client, settings, workers), last), account
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

    def drills() -> Iterator[Task]:
        for chunk in chunks if settings.drills else ():
            if splits[chunk["id"]] == "train":
                yield partial(_drill, chunk, settings)

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


def _locate_several(
    locator: Locator | None, given: Sequence[GivenQuestion], settings: DatasetSettings
) -> dict[int, list[str] | str]:
    """Return the chunk ids of each question that needs several, by its number, or why there are none."""
    needed: dict[int, list[str] | str] = {}
    for number, row in enumerate(given):
        if locator is None or not row.get("oracles"):
            continue
        found = locator.oracles(row)
        if len(row["oracles"]) > settings.distractors + 1:
            found = "it needs more documents than a row has: raise --distractors"
        needed[number] = found if isinstance(found, str) else [chunk["id"] for chunk in found]
    return needed


def _given_tasks(
    locator: Locator | None,
    given: Sequence[GivenQuestion],
    needed: Mapping[int, list[str] | str],
    client: Client,
    settings: DatasetSettings,
) -> Iterator[Task]:
    """Yield the tasks of given questions, which come first, so that they win over duplicates."""
    for number, row in enumerate(given if locator else ()):
        assert locator is not None
        yield partial(_draft_given, row, locator, needed.get(number), client, settings)


def _pair_tasks(linked: Linked, client: Client, settings: DatasetSettings) -> Iterator[Task]:
    """Yield a task for each pair of chunks, in their order."""
    for chunks, link in linked:
        yield partial(draft_pair, chunks, client, n=settings.questions, seed=settings.seed, link=link)


def _chunk_tasks(
    chunks: Sequence[Chunk], client: Client, settings: DatasetSettings, workers: int
) -> Iterator[Task]:
    """Yield a task for each chunk, in their order."""
    # A sequential teacher works on no more chunks at a time than the server has slots.
    slots = asyncio.Semaphore(workers) if choose_teacher(client.endpoint).sequential else None
    for chunk in chunks:
        task = partial(draft_rows, chunk, client, n=settings.questions, seed=settings.seed)
        yield partial(_with_server_slot, task, slots) if slots else task


async def _with_server_slot(task: Task, slots: asyncio.Semaphore) -> list[Draft]:
    """Draft a chunk while holding a server slot, so that each call finds its passage in the KV cache."""
    async with slots:
        return await task()


async def _draft_given(
    row: GivenQuestion,
    locator: Locator,
    needed: list[str] | str | None,
    client: Client,
    settings: DatasetSettings,
) -> list[Draft]:
    if isinstance(needed, str):
        draft = new_draft(row["question"], row["chunk_id"], origin="given")
        draft["reason"] = needed
        return [draft]
    if needed and row["answerable"]:
        return [await draft_several(row, locator.chunks(needed), client, seed=settings.seed)]
    return [await draft_given(row, locator.candidates(row), client, seed=settings.seed)]


async def _return(drafts: Sequence[Draft]) -> list[Draft]:
    return list(drafts)


async def _drill(chunk: Chunk, settings: DatasetSettings) -> list[Draft]:
    """Make the drills of a chunk, which need no verification since they consist of its own words."""
    return make_drills(chunk, settings.drills, seed=settings.seed)


def _cost(account: Mapping[str, Any], prices: Mapping[str, Price]) -> float | None:
    """Compute what the replies of an endpoint cost, those from the cache when they were paid for."""
    whole = dollars(
        account["model"],
        account["prompt_tokens"] + account["cached_prompt_tokens"],
        account["completion_tokens"] + account["cached_completion_tokens"],
        prices,
    )
    in_batches = dollars(
        account["model"], account["batch_prompt_tokens"], account["batch_completion_tokens"], prices
    )
    return None if whole is None or in_batches is None else whole - (1 - BATCH_SHARE) * in_batches


def summarise(
    result: BuildResult,
    corpus: Corpus,
    endpoints: Sequence[Endpoint],
    out: Path,
    settings: DatasetSettings,
    *,
    prices: Mapping[str, Price],
    student: Student | None = None,
    unknown: Sequence[str] = (),
) -> dict[str, Any]:
    """Write manifest.json and the dataset card beside the dataset, and return the manifest.

    student: the model that the longest row is measured for; without one, its length is an estimate.
    unknown: settings that were decided elsewhere, which are not recorded.
    """
    usage = result.usage
    for account in result.endpoints:
        account["cost_dollars"] = _cost(account, prices)
    costs = [
        account["cost_dollars"] for account in result.endpoints if account["calls"] or account["cached_calls"]
    ]
    teacher = choose_teacher(endpoints[0])
    prompts = {name for kind in {chunk["kind"] for chunk in corpus.chunks} for name in teacher.prompts(kind)}
    if settings.hops > 1 or result.counts.several:
        prompts.update(several_prompts(generated=settings.hops > 1))
    if settings.hops == 1:  # as in the manifests of earlier versions
        unknown = [*unknown, "hops"]
    longest = measure_longest(out / "raft.jsonl", student or Student("", None))
    if student and student.context and longest["tokens"] > student.context:
        result.notes.append(
            f"the longest row has {longest['tokens']:,} tokens, {student.name} takes {student.context:,}: "
            "`finetune --skip-long` leaves such rows out"
        )
    pairs = sum_pairs(result.files)["pairs"].total()
    others = ["chunks.jsonl", "raft.jsonl", "rejected.jsonl"]
    others += [REJECTED_ANSWERS] * (out / REJECTED_ANSWERS).exists()
    manifest = write_manifest(
        out / "manifest.json",
        settings={name: value for name, value in asdict(settings).items() if name not in unknown},
        seed=settings.seed,
        models={
            "teacher": " ".join(dict.fromkeys(endpoint.model for endpoint in endpoints)),
            "revision": endpoints[0].revision,
            **({"student": student.name} if student else {}),
        },
        prompt_hashes={name: prompt_hash(name) for name in {*prompts, RAFT_PROMPT}},
        counts={
            "documents": corpus.documents,
            "chunks": len(corpus.chunks),
            "rows": result.counts.rows,
            "rows_by_split": dict(result.counts.accepted),
            "rows_by_origin": dict(result.counts.origins),
            "rows_with_oracle": result.counts.with_oracle,
            **({"rows_with_several_oracles": result.counts.several} if result.counts.several else {}),
            **({"preference_pairs": pairs} if "dpo" in settings.formats else {}),
            "rejected": result.rejected.total(),
            "missing": result.counts.missing,
        },
        documents=[account.to_dict() for account in corpus.accounts],
        rejected_by_reason=result.rejected,
        longest_row=longest,
        tokens=usage.to_dict(),
        endpoints=result.endpoints,
        cost=None if not costs or None in costs else sum(costs),
        files={**result.files, **{name: describe_file(out / name) for name in others}},
        notes=result.notes,
        times={
            "seconds": round(result.seconds, 1),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    )
    write_card(out / "README.md", manifest)
    return manifest
