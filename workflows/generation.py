"""The generation flows as a workflow: chunks, or questions about them → a RAFT dataset.

    read_chunks → ask_questions-1 → draft_answer-1 → verify_answer-1 ↘
                ↘ …                                                   write_dataset
    read_questions ───────────────→ draft_answer-1 → …

One executor for each node of flows/ask_questions and flows/raft_generate, in as many lanes as calls are made
at a time: messages to one executor are handled one after another, those to several side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from agent_framework import CheckpointStorage, Executor, Workflow, WorkflowBuilder, WorkflowContext, handler
from typing_extensions import Never

from tools.raft.choices import check_choice
from tools.raft.errors import UserError
from tools.raft.generate import answer, ask, draft as drafting
from tools.raft.generate.batches import assemble_batch, read_question
from tools.raft.generate.settings import DatasetSettings
from tools.raft.ingest.chunks import sanitize_chunk
from tools.raft.models.client import Client
from tools.raft.prompts import Message, render
from tools.raft.records import Chunk, Draft, Kind

NAME = "raft-generation"
Variant = Literal["chain_of_thought", "quote_only"]  # of the node answer_prompt
VARIANTS: dict[Variant, str] = {
    "chain_of_thought": answer.PROMPTS["text"],
    "quote_only": "answer_with_quote.jinja2",
}


@dataclass(frozen=True)
class Chunks:
    """What the workflow starts with: chunks to be asked about, as lines of a chunks.jsonl."""

    chunks: Sequence[Mapping[str, Any]]
    file: Path  # that they are from: distractors come from it
    out: Path


@dataclass(frozen=True)
class Questions:
    """What it starts with instead: lines of a questions.jsonl."""

    lines: Sequence[Mapping[str, Any]]
    file: Path  # the chunks.jsonl that was asked about
    out: Path


@dataclass(frozen=True)
class Line:
    """A question on its way; without a draft, a chunk to be asked about. `number` is its place."""

    number: tuple[int, int]
    chunk: Chunk
    draft: Draft | None = None


@dataclass(frozen=True)
class Share:
    """The lines of one lane, and the reasons of those whose calls failed, which have left it."""

    lines: list[Line]
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Dataset:
    """What a run made: the counts of the manifest, and the reasons of the lines that failed."""

    counts: dict[str, Any]
    failed: list[str]


class _Dealing(Executor):
    """What the two nodes that a run starts with have in common."""

    def __init__(self, id: str, lanes: Sequence[str]) -> None:
        super().__init__(id=id)
        self._lanes = lanes

    async def deal(
        self, given: Chunks | Questions, lines: Sequence[Line], ctx: WorkflowContext[Share]
    ) -> None:
        """Send every lane its share, also an empty one: `write_dataset` waits for all of them."""
        ctx.set_state("files", (str(given.file), str(given.out)))
        for number, lane in enumerate(self._lanes):
            await ctx.send_message(Share([*lines[number :: len(self._lanes)]]), target_id=lane)


class ReadChunks(_Dealing):
    """Sanitizes chunks and deals them to the lanes."""

    @handler
    async def read(self, given: Chunks, ctx: WorkflowContext[Share]) -> None:
        """Keep their order in their numbers."""
        chunks = map(sanitize_chunk, given.chunks)
        await self.deal(given, [Line((number, 0), chunk) for number, chunk in enumerate(chunks)], ctx)


class ReadQuestions(_Dealing):
    """Checks and sanitizes questions with their chunks, and deals them to the lanes."""

    @handler
    async def read(self, given: Questions, ctx: WorkflowContext[Share]) -> None:
        """Raises UserError for a line that `ask_questions` does not write."""
        pairs = [read_question(line.get("chunk") or {}, line.get("draft") or {}) for line in given.lines]
        await self.deal(given, [Line((number, 0), *pair) for number, pair in enumerate(pairs)], ctx)


class AskQuestions(Executor):
    """Asks for the questions of each chunk in its share."""

    def __init__(self, id: str, client: Client, questions: int, seed: int) -> None:
        super().__init__(id=id)
        self._client, self._questions, self._seed = client, questions, seed

    @handler
    async def ask(self, share: Share, ctx: WorkflowContext[Share]) -> None:
        """A chunk with a failed call leaves the share."""
        lines, failed = [], list(share.failed)
        for line in share.lines:
            drafts = await drafting.ask_questions(
                line.chunk, self._client, n=self._questions, seed=self._seed,
                messages=ask.question_messages(line.chunk, self._questions),
            )  # fmt: skip
            if reasons := [draft["reason"] for draft in drafts if draft["failed"]]:
                failed.append(reasons[0])
                continue
            pairs = (read_question(line.chunk, draft) for draft in drafts)
            lines += [Line((line.number[0], i), *pair) for i, pair in enumerate(pairs)]
        await ctx.send_message(Share(lines, failed))


class _Answering(Executor):
    """What the two nodes that ask for an answer have in common."""

    def __init__(self, id: str, client: Client, variant: Variant, seed: int) -> None:
        super().__init__(id=id)
        self._client, self._seed = client, seed
        self._prompts: dict[Kind, str] = {**answer.PROMPTS, "text": VARIANTS[variant]}

    def messages(self, line: Line) -> list[Message]:
        """Render the prompt for the chunk's kind, as the nodes answer_prompt and task_prompt do."""
        assert line.draft is not None
        name = self._prompts[line.chunk["kind"]]
        return render(name, chunk=line.chunk["text"], question=line.draft["question"])


class DraftAnswer(_Answering):
    """Has the questions of its share answered, unless they fail their checks."""

    @handler
    async def draft(self, share: Share, ctx: WorkflowContext[Share]) -> None:
        """The answers are not verified yet."""
        for line in share.lines:
            assert line.draft is not None
            await drafting.draft_answer(
                line.draft, line.chunk, self._client, seed=self._seed, messages=self.messages(line)
            )
        await ctx.send_message(_without_failed(share))


class VerifyAnswer(_Answering):
    """Verifies quotes and answer tag, and asks once more if they fail; yields how many lines are done."""

    @handler
    async def verify(self, share: Share, ctx: WorkflowContext[Share, int]) -> None:
        """Drafts are changed in place, as everywhere in the library."""
        for line in share.lines:
            assert line.draft is not None
            await drafting.verify_answer(
                line.draft, line.chunk, self._client, seed=self._seed, messages=self.messages(line)
            )
            await ctx.yield_output(1)
        await ctx.send_message(_without_failed(share))


class WriteDataset(Executor):
    """Drops repeats, draws distractors, splits and writes, once all lanes are done."""

    def __init__(self, id: str, settings: DatasetSettings) -> None:
        super().__init__(id=id)
        self._settings = settings

    @handler
    async def write(self, shares: list[Share], ctx: WorkflowContext[Never, Dataset]) -> None:
        """Raises UserError if a question is about a chunk of another file."""
        lines = sorted((line for share in shares for line in share.lines), key=lambda line: line.number)
        drafts = [line.draft for line in lines if line.draft is not None]
        chunks, out = map(Path, ctx.get_state("files"))
        manifest = await asyncio.to_thread(assemble_batch, chunks, drafts, out, self._settings)
        failed = [reason for share in shares for reason in share.failed]
        await ctx.yield_output(Dataset(manifest["counts"], failed))


def build_generation(
    client: Client,
    settings: DatasetSettings,
    *,
    start: type[Chunks] | type[Questions] = Chunks,
    lanes: int = 8,
    variant: Variant = "chain_of_thought",
    checkpoints: CheckpointStorage | None = None,
) -> Workflow:
    """Build the workflow for a run that starts with `Chunks` or with `Questions`; its output is a `Dataset`.

    The seed, and the number of questions for each chunk, are those of the settings. Raises UserError for an
    unknown variant, and for a single lane: a fan-in takes two.
    """
    check_choice("variant", variant, Variant)
    if lanes < 2:
        raise UserError("the workflow needs two lanes or more")
    numbers = [f"{number + 1:02}" for number in range(lanes)]
    asking = [AskQuestions(f"ask_questions-{n}", client, settings.questions, settings.seed) for n in numbers]
    answering = [DraftAnswer(f"draft_answer-{n}", client, variant, settings.seed) for n in numbers]
    verifying = [VerifyAnswer(f"verify_answer-{n}", client, variant, settings.seed) for n in numbers]
    write = WriteDataset("write_dataset", settings)
    first: Sequence[Executor] = asking if start is Chunks else answering
    ids = [executor.id for executor in first]
    read = ReadChunks("read_chunks", ids) if start is Chunks else ReadQuestions("read_questions", ids)
    builder = WorkflowBuilder(
        name=NAME,
        start_executor=read,
        checkpoint_storage=checkpoints,
        output_from=[write],
        intermediate_output_from=list(verifying),
    )
    for executor in first:
        builder.add_edge(read, executor)
    for asks, answers, verifies in zip(asking, answering, verifying, strict=True):
        if start is Chunks:
            builder.add_edge(asks, answers)
        builder.add_edge(answers, verifies)
    return builder.add_fan_in_edges(verifying, write).build()


def _without_failed(share: Share) -> Share:
    """Return a share without the lines whose call failed; the same command finds the other replies again."""
    failed = [line.draft["reason"] for line in share.lines if line.draft and line.draft["failed"]]
    left = [line for line in share.lines if line.draft and not line.draft["failed"]]
    return replace(share, lines=left, failed=[*share.failed, *failed])
