"""Draft the rows of a chunk: ask, answer, check, and try once more what was refused."""

from __future__ import annotations

import asyncio

from .answer import answer_again, answer_question
from .ask import ask_about_target, ask_questions
from .check import check_draft, check_question
from .client import Client
from .locate import GivenQuestion
from .records import Chunk, Draft, new_draft

_TRIES = 2
_GUIDED_TRIES = 3  # a small model's question that fails its round trip is cheap to ask anew


async def draft_rows(chunk: Chunk, client: Client, *, n: int, seed: int) -> list[Draft]:
    """Draft n rows for a chunk, good ones and refused ones, in a fixed order."""
    drafts = await ask_questions(chunk, client, n=n, seed=seed)
    if client.endpoint.guided:
        for draft in drafts:  # see ask.py
            await answer_and_check(draft, chunk, client, seed=seed)
    else:
        await asyncio.gather(*(answer_and_check(draft, chunk, client, seed=seed) for draft in drafts))
    return drafts


async def answer_given(row: GivenQuestion, chunk: Chunk, client: Client, *, seed: int) -> Draft:
    """Draft the row of a given question from one chunk, its answer held against the given one."""
    draft = new_draft(row["question"], chunk["id"], origin="given")
    if row["answer"]:
        draft["expected"] = row["answer"]
    await answer_and_check(draft, chunk, client, seed=seed)
    return draft


async def answer_and_check(draft: Draft, chunk: Chunk, client: Client, *, seed: int) -> None:
    """Answer a draft's question and check both, each at its time: no call is paid for a bad question."""
    if draft["reason"]:
        return
    draft["reason"] = check_question(draft, chunk)
    await answer_question(draft, chunk, client, seed=seed)
    await verify(draft, chunk, client)
    await retry_refused(draft, chunk, client, seed=seed)


async def retry_refused(draft: Draft, chunk: Chunk, client: Client, *, seed: int) -> None:
    """Try a refused draft once more: a new answer, or a new question where the model is led by the hand."""
    by_sentence = "target" in draft
    for attempt in range(1, _GUIDED_TRIES if by_sentence else _TRIES):
        # An endpoint that gave nothing was asked often enough, and a bad question stays one.
        if not draft["reason"] or draft["failed"] or not (by_sentence or draft["cot_answer"]):
            return
        draft["reason"] = ""
        if by_sentence:
            await ask_about_target(draft, chunk, client, seed=seed, attempt=attempt)
            draft["cot_answer"] = ""
            draft["reason"] = draft["reason"] or check_question(draft, chunk)
        await answer_question(draft, chunk, client, seed=seed, attempt=attempt)
        await verify(draft, chunk, client)


async def verify(draft: Draft, chunk: Chunk, client: Client) -> None:
    """Check an answered draft, by its words and, if a small model made it, by asking once more."""
    check_draft(draft, chunk)
    await answer_again(draft, client)
