"""Draft rows whose questions need several chunks: ask, answer from all, verify, and try each chunk alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

from ..errors import UserError
from ..models.client import Client
from ..models.endpoint import Endpoint
from ..prompts import Message, prompt_hash, render
from ..raft_format import parse_answer
from ..records import Chunk, Draft, new_draft
from ..text.answers import answers_agree, holds_answer
from . import answer, ask, verify
from .given_questions import GivenQuestion

ASK, ANSWER = "ask_questions_of_two.jinja2", "answer_question_of_several.jinja2"
ONE_IS_ENOUGH = "one document alone answers it"

# Questions that only make sense beside their two passages; verify.py knows those beside one.
_ABOUT_BOTH = re.compile(
    r"\b(?:both|either|neither|two|first|second|other)\s+(?:of\s+the\s+)?"
    r"(?:documents?|texts?|passages?|articles?|excerpts?|paragraphs?)\b",
    re.IGNORECASE,
)


def check_pairs(endpoint: Endpoint) -> None:
    """Raise UserError if an endpoint's model cannot be asked about two documents."""
    if endpoint.constrained:
        raise UserError(
            "--hops 2 needs a large model: the embedded teacher reads one document at a time; name one with "
            "--connection or --base-url, or use --hops 1"
        )


def question_messages(chunks: Sequence[Chunk], n: int, link: str = "") -> list[Message]:
    """Render the prompt that asks n questions about two chunks; link: what they have in common."""
    first, second = chunks
    return render(ASK, first=first["text"], second=second["text"], link=link, n=n)


def answer_messages(question: str, chunks: Sequence[Chunk]) -> list[Message]:
    """Render the prompt that asks for an answer from several chunks."""
    return render(ANSWER, chunks=[chunk["text"] for chunk in chunks], question=question)


async def draft_pair(
    chunks: Sequence[Chunk], client: Client, *, n: int, seed: int, link: str = ""
) -> list[Draft]:
    """Draft n rows for two linked chunks, verified ones and rejected ones, in a fixed order."""
    drafts = await ask.ask_questions(chunks[0], question_messages(chunks, n, link), client, n=n, seed=seed)
    for draft in drafts:
        draft["other_chunk_ids"] = [chunks[1]["id"]]
    await asyncio.gather(*(_complete(draft, chunks, client, seed=seed, alone=True) for draft in drafts))
    return drafts


async def draft_several(row: GivenQuestion, chunks: Sequence[Chunk], client: Client, *, seed: int) -> Draft:
    """Draft the row of a given question that needs several chunks.

    That it does need them all is taken from the user. A given answer has to agree with the model's.
    """
    draft = new_draft(row["question"], chunks[0]["id"], origin="given")
    draft["other_chunk_ids"] = [chunk["id"] for chunk in chunks[1:]]
    if row["answers"]:
        draft["expected"] = row["answers"]
    if client.endpoint.constrained:
        draft["reason"] = "the embedded teacher answers from one document only"
    await _complete(draft, chunks, client, seed=seed, alone=False)
    return draft


async def _complete(draft: Draft, chunks: Sequence[Chunk], client: Client, *, seed: int, alone: bool) -> None:
    """Answer and verify a draft, once more if its answer is rejected; alone: try each chunk alone, too."""
    draft["reason"] = draft["reason"] or _verify_question(draft, chunks)
    if draft["reason"]:
        return
    draft["model"] = client.endpoint.model
    draft["prompt_hash"] = prompt_hash(*prompts(draft["origin"] == "generated"))
    messages = answer_messages(draft["question"], chunks)
    for attempt in range(2):
        if attempt:
            answer.set_aside(draft)
        await answer.answer_question(draft, messages, client, seed=seed, attempt=attempt)
        verify.verify_draft(draft, chunks[0], chunks[1:])
        # A failed call is not repeated: the client has retried it already if that could help.
        if not draft["reason"] or draft["failed"] or not draft["cot_answer"]:
            break
    if alone and not draft["reason"]:
        await asyncio.gather(*(_try_alone(draft, chunk, client, seed=seed) for chunk in chunks))


def prompts(generated: bool) -> tuple[str, ...]:
    """Return the names of the prompts that make a row of several chunks."""
    return (ASK, ANSWER) if generated else (ANSWER,)


def _verify_question(draft: Draft, chunks: Sequence[Chunk]) -> str:
    if draft["origin"] == "generated" and _ABOUT_BOTH.search(draft["question"]):
        return "talks about its context"
    return verify.verify_question(draft, chunks[0])


async def _try_alone(draft: Draft, chunk: Chunk, client: Client, *, seed: int) -> None:
    """Reject a draft if a single chunk leads to its answer."""
    probe = new_draft(draft["question"], chunk["id"])
    await answer.answer_question(probe, answer.answer_messages(probe, chunk), client, seed=seed)
    if probe["failed"]:
        draft["reason"], draft["failed"] = probe["reason"], True
    elif not draft["failed"] and is_enough(probe["cot_answer"], draft["final_answer"]):
        draft["reason"] = ONE_IS_ENOUGH


def is_enough(reply: str, final: str) -> bool:
    """Return whether a reply from one chunk has the final answer, or one that agrees with it."""
    parsed = parse_answer(reply)
    if isinstance(parsed, str):  # no answer that can be read: what it says counts
        return holds_answer(reply, final)
    if verify.is_unanswerable(parsed.final):
        return False
    return answers_agree(parsed.final, final) or holds_answer(parsed.final, final)
