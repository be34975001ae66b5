"""Ask a model for questions about a chunk."""

from __future__ import annotations

from .client import CallFailed, Client
from .confidence import is_likely_wording, logprobs_after
from .guide import QUESTION_TAG, parse_guided_question, pick_targets, question_grammar
from .parse import normalise, parse_questions
from .prompts import render
from .records import Chunk, Draft, new_draft
from .sentences import split_sentences

PROMPTS = {"text": "ask_questions.jinja2", "api": "ask_tasks.jinja2"}
GUIDED_PROMPT = "guided_question.jinja2"

RETRY_TEMPERATURE = 0.7  # a second try at temperature 0 would only repeat the first
_QUESTION_TOKENS = 80  # room for one question


async def ask_questions(chunk: Chunk, client: Client, *, n: int, seed: int) -> list[Draft]:
    """Ask for n different questions that the chunk answers, as drafts without answers.

    Where fewer are to be had, one refused draft stands for those that did not come.
    """
    if client.endpoint.guided:
        return await _ask_by_sentence(chunk, client, n=n, seed=seed)
    try:
        questions = await _ask_list(chunk, client, n=n, seed=seed)
    except CallFailed as failure:
        return _shortfall(chunk, n, f"call failed: {failure.reason}", failed=True)
    drafts = [new_draft(question, chunk["id"]) for question in questions]
    return drafts + _shortfall(chunk, n - len(drafts), "fewer questions came than were asked for")


async def _ask_list(chunk: Chunk, client: Client, *, n: int, seed: int) -> list[str]:
    """Ask for a list; where the first reply holds too few, a second is asked for and the two are joined."""
    messages = render(PROMPTS[chunk["kind"]], chunk=chunk["text"], n=n)
    questions: dict[str, str] = {}
    for attempt in range(2):
        reply = await client.ask(
            messages,
            max_tokens=_QUESTION_TOKENS * (n + 1),
            temperature=RETRY_TEMPERATURE if attempt else 0.0,
            seed=seed
            if attempt
            else None,  # at temperature 0 it decides nothing, and another one need not be paid for
            attempt=attempt,
        )
        found = parse_questions(reply.text)
        if reply.finish_reason == "length":
            found = found[:-1]  # the last one may have been cut off
        for question in found:
            questions.setdefault(normalise(question), question)
        if len(questions) >= n:
            break
    return list(questions.values())[:n]


async def _ask_by_sentence(chunk: Chunk, client: Client, *, n: int, seed: int) -> list[Draft]:
    """Ask one question about each of n sentences: a small model asked for a list repeats itself."""
    targets = pick_targets(split_sentences(chunk["text"]), n)
    drafts = []
    for target in targets:
        draft = new_draft("", chunk["id"])
        draft["target"] = target
        drafts.append(draft)
    for draft in drafts:  # one after another: the server keeps what it computed of the passage
        await ask_about_target(draft, chunk, client, seed=seed, attempt=0)
    return drafts + _shortfall(chunk, n - len(drafts), "no more sentences to ask about")


async def ask_about_target(draft: Draft, chunk: Chunk, client: Client, *, seed: int, attempt: int) -> None:
    """Fill in the question, and the answer it is meant to have, about the target sentence of a draft."""
    try:
        reply = await client.ask(
            render(GUIDED_PROMPT, passage=chunk["text"], target=draft["target"]),
            max_tokens=2 * _QUESTION_TOKENS,
            temperature=RETRY_TEMPERATURE if attempt else 0.0,
            seed=seed if attempt else None,
            attempt=attempt,
            extra={"grammar": question_grammar(draft["target"]), "cache_prompt": True, "logprobs": True},
        )
    except CallFailed as failure:
        refuse(draft, failure)
        return
    draft["question"], draft["expected"] = parse_guided_question(reply.text) or ("", "")
    if not is_likely_wording(logprobs_after(QUESTION_TAG, reply.logprobs)):
        draft["reason"] = "question is a guess"


def refuse(draft: Draft, failure: CallFailed) -> None:
    """Mark a draft whose call failed for good: running again may still get it."""
    draft["reason"], draft["failed"] = f"call failed: {failure.reason}", True


def _shortfall(chunk: Chunk, count: int, reason: str, *, failed: bool = False) -> list[Draft]:
    if count <= 0:
        return []
    draft = new_draft("", chunk["id"])
    draft.update({"reason": reason, "count": count, "failed": failed})
    return [draft]
