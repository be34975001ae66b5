"""Build a whole RAFT dataset: documents in, verified records and fine-tuning files out."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from .answer import prompts_of
from .assemble import NoOracle
from .cache import cache_directory
from .card import write_card, write_manifest
from .client import Client, Usage
from .collect import Corpus
from .cost import Price, dollars
from .dataset import PROMPT as RAFT_PROMPT, describe_file, make_datasets
from .distract import Distractors, Negatives
from .draft import answer_given, draft_rows
from .drill import make_drills
from .endpoint import Endpoint
from .errors import UserError
from .generate import Tally, generate_records, write_row
from .locate import GivenQuestion, Locator, draft_given
from .prompts import prompt_hash
from .records import Chunk, Draft
from .splits import DRILLS, assign_splits


@dataclass(frozen=True)
class Settings:
    """What decides a dataset, beside its documents and its model; the manifest keeps all of it."""

    questions: int = 5
    distractors: int = 3
    p: float = 0.8
    seed: int = 42
    negatives: Negatives = "lexical"
    no_oracle: NoOracle = "keep"
    valid: float = 0.1
    test: float = 0.1
    chunk_size: int = 512
    chunking: str = "text"
    drills: int = 0
    formats: tuple[str, ...] = ("chat",)


@dataclass
class Built:
    """What a build came to."""

    tally: Tally
    usage: Usage
    files: dict[str, dict[str, Any]]  # file name: rows, bytes, sha256
    refused: Counter[str]  # rows, chunks and documents by reason
    notes: list[str]  # what deviates from what was asked for
    seconds: float


def build_dataset(
    corpus: Corpus,
    endpoint: Endpoint,
    out: Path,
    settings: Settings,
    *,
    given: Sequence[GivenQuestion] = (),
    workers: int = 32,
    timeout: float = 120.0,
    on_progress: Callable[[int, int, Tally], None] = lambda done, total, tally: None,
) -> Built:
    """Build a dataset out of the chunks of a corpus into the folder `out`.

    Writes chunks.jsonl, raft.jsonl, rejected.jsonl and the split files in every format. Every file
    but the response cache is made anew: replies that were paid for come out of the cache, and
    nothing else is taken over from an earlier run. Raises UserError.
    """
    begun = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    splits, notes = assign_splits(
        [chunk["id"] for chunk in corpus.chunks],
        seed=settings.seed,
        valid=settings.valid,
        test=settings.test,
        smallest=settings.distractors + 2,
    )
    # Rows of an earlier run must not stand beside chunks of this one.
    raft, rejected = out / "raft.jsonl", out / "rejected.jsonl"
    raft.unlink(missing_ok=True)
    write_rows(out / "chunks.jsonl", corpus.chunks)
    part = out / "raft.jsonl.part"
    write_rows(rejected, corpus.refused)

    async def run() -> tuple[Tally, Usage]:
        cache = cache_directory(out)
        async with Client(endpoint, cache_dir=cache, concurrency=workers, timeout=timeout) as client:
            drilled = [chunk for chunk in corpus.chunks if splits[chunk["id"]] == "train"]
            practice = drilled if settings.drills else []
            total = len(given) + len(corpus.chunks) + len(practice)
            done = iter(range(1, total + 1))
            tally = await generate_records(
                chain(
                    _work(corpus.chunks, given, client, settings, asyncio.Semaphore(workers)),
                    (partial(_practise, chunk, settings) for chunk in practice),
                ),
                part,
                rejected,
                chunks={chunk["id"]: chunk for chunk in corpus.chunks},
                distractors=Distractors(corpus.chunks, splits, settings.negatives),
                k=settings.distractors,
                p=settings.p,
                seed=settings.seed,
                no_oracle=settings.no_oracle,
                window=4 * workers,
                on_done=lambda tally: on_progress(next(done), total, tally),
            )
            return tally, client.usage

    tally, usage = asyncio.run(run())
    os.replace(part, raft)
    if tally.rows == tally.accepted[DRILLS]:
        raise UserError(f"not one row passed the checks; {rejected} says why for each")
    files, findings = make_datasets(raft, out, formats=settings.formats, share=settings.p)
    notes += [str(finding) for finding in findings if finding.severity != "note"]
    refused = tally.refused + Counter(str(row["reason"]) for row in corpus.refused)
    return Built(tally, usage, files, refused, notes, time.monotonic() - begun)


def _work(
    chunks: Sequence[Chunk],
    given: Sequence[GivenQuestion],
    client: Client,
    settings: Settings,
    places: asyncio.Semaphore,
) -> Iterator[Callable[[], Awaitable[list[Draft]]]]:
    """Give the pieces of work in their fixed order: people's questions first, which win over a repeat."""
    if given:
        locator = Locator(chunks)
        for row in given:
            answer = partial(answer_given, client=client, seed=settings.seed)
            yield partial(_draft_one, row, locator, answer)
    for chunk in chunks:
        piece = partial(draft_rows, chunk, client, n=settings.questions, seed=settings.seed)
        yield partial(_in_its_place, piece, places) if client.endpoint.guided else piece


async def _practise(chunk: Chunk, settings: Settings) -> list[Draft]:
    """Make the drills of a chunk, which need no check: they are made of it word for word."""
    return make_drills(chunk, settings.drills, seed=settings.seed)


async def _in_its_place(
    piece: Callable[[], Awaitable[list[Draft]]], places: asyncio.Semaphore
) -> list[Draft]:
    """Draft a chunk while the server has a place for it, so that each call finds its passage kept."""
    async with places:
        return await piece()


async def _draft_one(
    row: GivenQuestion, locator: Locator, answer: Callable[[GivenQuestion, Chunk], Awaitable[Draft]]
) -> list[Draft]:
    return [await draft_given(row, locator.candidates(row), answer)]


def write_rows(path: Path, rows: Iterable[Any]) -> None:
    """Write rows as JSON lines."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            write_row(file, row)


def summarise(
    built: Built,
    corpus: Corpus,
    endpoint: Endpoint,
    out: Path,
    settings: Settings,
    *,
    prices: Mapping[str, Price],
) -> dict[str, Any]:
    """Write manifest.json and the dataset card beside the dataset, and give the manifest."""
    usage = built.usage
    paid = dollars(endpoint.model, usage.prompt_tokens, usage.completion_tokens, prices)
    cached = dollars(endpoint.model, usage.cached_prompt_tokens, usage.cached_completion_tokens, prices)
    prompts = {name for chunk in corpus.chunks for name in prompts_of(chunk["kind"], guided=endpoint.guided)}
    others = ("chunks.jsonl", "raft.jsonl", "rejected.jsonl")
    manifest = write_manifest(
        out / "manifest.json",
        settings=asdict(settings),
        seed=settings.seed,
        models={"teacher": endpoint.model, "revision": endpoint.revision},
        prompt_hashes={name: prompt_hash(name) for name in {*prompts, RAFT_PROMPT}},
        counts={
            "documents": corpus.documents,
            "chunks": len(corpus.chunks),
            "rows": built.tally.rows,
            "rows_by_split": dict(built.tally.accepted),
            "rows_by_origin": dict(built.tally.origins),
            "rows_with_oracle": built.tally.with_oracle,
            "rejected": built.refused.total(),
            "missing": built.tally.missing,
        },
        rejected_by_reason=built.refused,
        tokens=usage.to_dict(),
        cost=None if paid is None or cached is None else paid + cached,
        files={**built.files, **{name: describe_file(out / name) for name in others}},
        notes=built.notes,
        times={
            "seconds": round(built.seconds, 1),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    )
    write_card(out / "README.md", manifest)
    return manifest
