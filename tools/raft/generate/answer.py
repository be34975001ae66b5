"""Ask a model to answer a question from its oracle chunk alone."""

from __future__ import annotations

from collections.abc import Sequence

from ..models.client import RETRY_TEMPERATURE, Client
from ..models.failed_calls import CallFailed
from ..prompts import Message, render
from ..records import Chunk, Draft, Kind, RejectedAnswer
from .ask import reject_failed

PROMPTS: dict[Kind, str] = {"text": "answer_question.jinja2", "api": "answer_task.jinja2"}
ANSWER_TOKENS = 768  # room for reasoning, quotes and the final answer


def answer_messages(draft: Draft, chunk: Chunk) -> list[Message]:
    """Render the prompt that asks for the answer of a draft."""
    return render(PROMPTS[chunk["kind"]], chunk=chunk["text"], question=draft["question"])


async def answer_question(
    draft: Draft, messages: Sequence[Message], client: Client, *, seed: int, attempt: int = 0
) -> None:
    """Fill in the chain-of-thought answer of a draft as the model writes it, unverified.

    A draft whose call fails is rejected and marked `failed`.
    """
    try:
        reply = await client.ask(
            messages,
            max_tokens=ANSWER_TOKENS,
            temperature=RETRY_TEMPERATURE if attempt else 0.0,
            seed=seed if attempt else None,  # see ask.py
            attempt=attempt,
        )
    except CallFailed as failure:
        reject_failed(draft, failure)
    else:
        draft["cot_answer"], draft["finish_reason"] = reply.text, reply.finish_reason
        draft["model"] = reply.model


def set_aside(draft: Draft) -> None:
    """Set the rejected answer of a draft aside, so that its question can be answered anew."""
    draft["rejected_answers"] = rejected_answers(draft)
    draft["reason"] = ""


def rejected_answers(draft: Draft) -> list[RejectedAnswer]:
    """Return all answers to the question of a rejected draft, its last one first."""
    earlier = draft.get("rejected_answers", [])
    if draft["failed"] or not draft["cot_answer"]:  # the last call brought none
        return earlier
    return [{"cot_answer": draft["cot_answer"], "reason": draft["reason"]}, *earlier]
