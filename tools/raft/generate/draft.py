"""Draft the rows of a chunk: choose the teacher, ask, answer, verify, and retry what was rejected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ..errors import CallsFailed, UserError
from ..models.client import Client
from ..models.endpoint import TEACHER_MODEL, Endpoint
from ..prompts import Message, prompt_hash
from ..records import Chunk, Draft, Kind, RejectedAnswer, content_id, new_draft
from . import answer, ask, verify
from .given_questions import GivenQuestion

# A prompt rendered elsewhere, as by a node of a flow, in place of the teacher's own.
Messages = Sequence[Message] | None


class Teacher(Protocol):
    """A way to have a model ask and answer questions about a chunk; drafts are changed in place."""

    sequential: bool  # calls about one chunk run one after another, so that a server reuses its KV cache

    def prompts(self, kind: Kind) -> tuple[str, str]:
        """Return the names of the question prompt and the answer prompt for a kind of chunk."""

    async def ask_questions(
        self, chunk: Chunk, client: Client, *, n: int, seed: int, messages: Messages = None
    ) -> list[Draft]:
        """Ask n questions, as drafts without answers; one rejected draft stands for those missing."""

    def verify_question(self, draft: Draft, chunk: Chunk) -> str:
        """Return why a question is rejected before its answer is paid for, or an empty string."""

    async def answer_question(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
    ) -> None:
        """Fill in the answer of a draft as the model writes it, with the prompt it was asked by."""

    async def verify_answer(self, draft: Draft, chunk: Chunk, client: Client) -> None:
        """Verify an answered draft: set its reason, or its answer in canonical form."""

    async def retry(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
    ) -> None:
        """Retry a draft whose answer was rejected."""


def choose_teacher(endpoint: Endpoint) -> Teacher:
    """Choose how to ask an endpoint's model: under grammars if it is the small teacher, else by prompts.

    Raises UserError for the embedded model with a student's adapter: it was trained to answer, not to teach.
    """
    if endpoint.constrained:
        from .small_model.draft import ConstrainedTeacher

        return ConstrainedTeacher()
    if endpoint.adapter:
        raise UserError(
            f"{endpoint.adapter} is a fine-tuned student, which cannot write a dataset: omit --connection "
            "for the embedded teacher, name a large model, "
            f"or pass --model {TEACHER_MODEL} if `teach` made the adapter"
        )
    return PromptedTeacher()


def check_teachers(endpoints: Sequence[Endpoint]) -> None:
    """Raise UserError unless all endpoints are asked in the same way."""
    if len({type(choose_teacher(endpoint)) for endpoint in endpoints}) > 1:
        raise UserError(
            "the embedded teacher is asked with prompts of its own: it cannot share a run with other models"
        )


class PromptedTeacher:
    """A capable model: asked for a list of questions, then for each answer, once more if that is rejected."""

    sequential = False

    def prompts(self, kind: Kind) -> tuple[str, str]:
        """Return the prompts for documents or for API entries."""
        return ask.PROMPTS[kind], answer.PROMPTS[kind]

    async def ask_questions(
        self, chunk: Chunk, client: Client, *, n: int, seed: int, messages: Messages = None
    ) -> list[Draft]:
        """Ask for a list."""
        usual = ask.question_messages(chunk, n)
        drafts = await ask.ask_questions(chunk, messages or usual, client, n=n, seed=seed)
        if messages and list(messages) != usual:
            for draft in drafts:
                draft["prompt_hash"] = _hash_messages(messages, chunk["text"])
        return drafts

    def verify_question(self, draft: Draft, chunk: Chunk) -> str:
        """Check that it is a single question that can be understood alone."""
        return verify.verify_question(draft, chunk)

    async def answer_question(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
    ) -> None:
        """Ask for reasoning, quotes and a final answer."""
        usual = answer.answer_messages(draft, chunk)
        if messages and list(messages) != usual:
            own = _hash_messages(messages, chunk["text"], draft["question"])
            draft["prompt_hash"] = content_id(draft["prompt_hash"], own)
        await answer.answer_question(draft, messages or usual, client, seed=seed)

    async def verify_answer(self, draft: Draft, chunk: Chunk, client: Client) -> None:
        """Check format and quotes, without another call."""
        verify.verify_draft(draft, chunk)

    async def retry(
        self, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
    ) -> None:
        """Ask for another answer, once; a rejected question stays rejected."""
        # A failed call is not repeated: the client has retried it already if that could help.
        if draft["reason"] and draft["cot_answer"] and not draft["failed"]:
            answer.set_aside(draft)
            messages = messages or answer.answer_messages(draft, chunk)
            await answer.answer_question(draft, messages, client, seed=seed, attempt=1)
            await self.verify_answer(draft, chunk, client)


async def draft_rows(chunk: Chunk, client: Client, *, n: int, seed: int) -> list[Draft]:
    """Draft n rows for a chunk, verified ones and rejected ones, in a fixed order."""
    teacher = choose_teacher(client.endpoint)
    drafts = await teacher.ask_questions(chunk, client, n=n, seed=seed)
    await _each(teacher, drafts, lambda draft: _complete(teacher, draft, chunk, client, seed=seed))
    return drafts


async def draft_given(row: GivenQuestion, candidates: Sequence[Chunk], client: Client, *, seed: int) -> Draft:
    """Draft the row of a given question from the first candidate chunk whose answer passes verification.

    The answer is compared with the given ones, if any. If none passes, return the rejected draft of the best
    candidate.
    """
    if not row["answerable"]:
        draft = new_draft(row["question"], row["chunk_id"], origin="given")
        draft["reason"] = "its row says that no document answers it"
        return draft
    teacher = choose_teacher(client.endpoint)
    first: Draft | None = None
    rejected: list[RejectedAnswer] = []  # from the earlier candidates
    for chunk in candidates:
        draft = new_draft(row["question"], chunk["id"], origin="given")
        if row["answers"]:
            draft["expected"] = row["answers"]
        await _complete(teacher, draft, chunk, client, seed=seed)
        if not draft["reason"]:
            if rejected:
                draft["rejected_answers"] = [*draft.get("rejected_answers", []), *rejected]
            return draft
        rejected += answer.rejected_answers(draft)
        first = first or draft
    if first is None:
        first = new_draft(row["question"], row["chunk_id"], origin="given")
        first["reason"] = "no such chunk_id" if row["chunk_id"] else "no chunk found for it"
    return first


# The three steps of `draft_rows`, for flows with a node for each.


async def ask_questions(
    chunk: Chunk, client: Client, *, n: int, seed: int, messages: Messages = None
) -> list[Draft]:
    """Ask n questions about a chunk, as drafts without answers."""
    teacher = choose_teacher(client.endpoint)
    return await teacher.ask_questions(chunk, client, n=n, seed=seed, messages=messages)


async def draft_answer(
    draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
) -> None:
    """Answer a question if it passes verification; the answer is not verified yet."""
    await _answer(choose_teacher(client.endpoint), draft, chunk, client, seed=seed, messages=messages)


async def verify_answer(
    draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
) -> None:
    """Verify the answer of a draft, and retry what is rejected."""
    await _verify(choose_teacher(client.endpoint), draft, chunk, client, seed=seed, messages=messages)


def raise_failed(drafts: Sequence[Draft]) -> None:
    """Raise CallsFailed if a call of these drafts failed: a line of a flow fails, and can be run again."""
    if failed := [draft["reason"] for draft in drafts if draft["failed"]]:
        raise CallsFailed(f"{len(failed)} of {len(drafts)} drafts lack a reply, the first: {failed[0]}")


async def _complete(teacher: Teacher, draft: Draft, chunk: Chunk, client: Client, *, seed: int) -> None:
    if not draft["reason"]:
        await _answer(teacher, draft, chunk, client, seed=seed)
        await _verify(teacher, draft, chunk, client, seed=seed)


async def _answer(
    teacher: Teacher, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
) -> None:
    draft["reason"] = draft["reason"] or teacher.verify_question(draft, chunk)
    if draft["reason"]:
        return
    draft["model"] = client.endpoint.model
    usual = prompt_hash(*teacher.prompts(chunk["kind"]))
    # A draft has a hash already if it was asked with a prompt of the user's own.
    draft["prompt_hash"] = content_id(usual, draft["prompt_hash"]) if draft["prompt_hash"] else usual
    await teacher.answer_question(draft, chunk, client, seed=seed, messages=messages)


async def _verify(
    teacher: Teacher, draft: Draft, chunk: Chunk, client: Client, *, seed: int, messages: Messages = None
) -> None:
    await teacher.verify_answer(draft, chunk, client)
    await teacher.retry(draft, chunk, client, seed=seed, messages=messages)


async def _each(teacher: Teacher, drafts: Sequence[Draft], step: Callable[[Draft], Awaitable[None]]) -> None:
    if teacher.sequential:
        for draft in drafts:
            await step(draft)
    else:
        await asyncio.gather(*map(step, drafts))


def _hash_messages(messages: Sequence[Message], *values: str) -> str:
    """Compute a hash of a prompt of the user's own, without the values that were filled into it."""
    text = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
    for value in values:
        text = text.replace(value, "")
    return content_id("prompt", text)
