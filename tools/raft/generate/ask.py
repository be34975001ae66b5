"""Ask a model for a list of questions about a chunk."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.client import RETRY_TEMPERATURE, Client
from ..models.failed_calls import CallFailed
from ..prompts import Message, render
from ..raft_format import FormatError
from ..records import Chunk, Draft, Kind, new_draft
from ..text.normalise import normalise
from .question_list import parse_questions

PROMPTS: dict[Kind, str] = {"text": "ask_questions.jinja2", "api": "ask_tasks.jinja2"}
QUESTION_TOKENS = 80  # room for one question


def question_messages(chunk: Chunk, n: int) -> list[Message]:
    """Render the prompt that asks n questions about a chunk."""
    return render(PROMPTS[chunk["kind"]], chunk=chunk["text"], n=n)


async def ask_questions(
    chunk: Chunk, messages: Sequence[Message], client: Client, *, n: int, seed: int
) -> list[Draft]:
    """Ask for n different questions that the chunk answers, as drafts without answers.

    If the model returns fewer, one rejected draft stands for those that are missing.
    """
    try:
        questions, shortage = await _ask_list(messages, client, n=n, seed=seed)
    except CallFailed as failure:
        return shortfall(chunk, n, f"call failed: {failure.reason}", failed=True)
    drafts = [new_draft(question, chunk["id"]) for question in questions]
    return drafts + shortfall(chunk, n - len(drafts), shortage)


async def _ask_list(
    messages: Sequence[Message], client: Client, *, n: int, seed: int
) -> tuple[list[str], str]:
    """Ask for a list; if the first reply has too few questions, ask once more and merge the two.

    Also return why there are too few, if there are.
    """
    questions: dict[str, str] = {}
    shortage = ""
    for attempt in range(2):
        reply = await client.ask(
            messages,
            max_tokens=QUESTION_TOKENS * (n + 1),
            temperature=RETRY_TEMPERATURE if attempt else 0.0,
            # At temperature 0 a seed has no effect; without one, a run with another seed is a cache hit.
            seed=seed if attempt else None,
            attempt=attempt,
        )
        found = parse_questions(reply.text)
        shortage = "fewer questions came than were asked for"
        if not reply.text:
            shortage = FormatError.THOUGHT_ONLY.value
        if reply.finish_reason == "length":
            found = found[:-1]  # the last one may have been cut off
        for question in found:
            questions.setdefault(normalise(question), question)
        if len(questions) >= n:
            break
    return list(questions.values())[:n], shortage


def reject_failed(draft: Draft, failure: CallFailed) -> None:
    """Reject a draft whose call failed after all retries; another run may still succeed."""
    draft["reason"], draft["failed"] = f"call failed: {failure.reason}", True


def shortfall(chunk: Chunk, count: int, reason: str, *, failed: bool = False) -> list[Draft]:
    """Return the one rejected draft that stands for `count` questions that are missing, if any are."""
    if count <= 0:
        return []
    draft = new_draft("", chunk["id"])
    draft.update({"reason": reason, "count": count, "failed": failed})
    return [draft]
