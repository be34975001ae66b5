"""Answer questions from an index, as the chat flows do: find documents, ask the model, read its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError
from ..files import read_questions
from ..models.client import CallFailed, Client
from ..prompts import Message, render
from ..raft_format import FormatError, format_instruction
from ..text.sanitize import defuse_roles, sanitize
from .citations import read_reply
from .follow_up import resolve_question
from .search import Mode

if TYPE_CHECKING:
    from .index import Hit, Index

DOCUMENTS = 4  # as many as a row of the dataset holds, with its default of three distractors
REPLY_TOKENS = 512  # as in the flows' model node
Prompt = Literal["chain_of_thought", "plain", "few_shot", "closed_book"]  # the variants of flows/chat_rag
PROMPTS: dict[Prompt, str] = {
    "chain_of_thought": "raft_answer.jinja2",
    "plain": "plain_answer.jinja2",
    "few_shot": "few_shot_answer.jinja2",
    "closed_book": "closed_book_answer.jinja2",
}
_BATCH = 32  # questions looked up at a time: the first are at the model while the next are looked up

Row = dict[str, Any]


@dataclass
class Answers:
    """Questions with their answers, in order; a row that failed has its reason in `error`."""

    rows: list[Row]
    # How long each call took, None where it failed or was in the cache: not in the rows, which are the
    # same each time.
    seconds: list[float | None]

    @property
    def failed(self) -> int:
        """Count the questions that got no reply."""
        return sum(bool(row["error"]) for row in self.rows)


def build_instruction(hits: Sequence[Hit], question: str) -> str:
    """Format documents and question for the prompt, as the training rows do, whatever they may say."""
    return defuse_roles(format_instruction([sanitize(hit["text"]) for hit in hits], sanitize(question)))


def chat_messages(hits: Sequence[Hit], question: str, prompt: Prompt = "chain_of_thought") -> list[Message]:
    """Make the messages that the chat flows send; raises UserError for a prompt there is not."""
    if prompt not in PROMPTS:
        raise UserError(f"there is no prompt {prompt!r}: known are {', '.join(PROMPTS)}")
    return render(PROMPTS[prompt], instruction=build_instruction(hits, question), question=sanitize(question))


async def answer_questions(
    questions: Sequence[Mapping[str, Any]],
    index: Index | None,
    client: Client,
    *,
    k: int = DOCUMENTS,
    mode: Mode = "fused",
    prompt: Prompt = "chain_of_thought",
    documents: Sequence[Sequence[Hit]] | None = None,
    on_answer: Callable[[], None] | None = None,
) -> Answers:
    """Answer many questions, retrieval in batches, as many calls at a time as the client allows.

    A question is a mapping with `question` and perhaps `chat_history`; all of it is kept in `asked`.
    Without an index no documents are given; `documents`, found before, stand in place of a search.
    A call that fails leaves its row with the reason and an
    empty answer. Raises EndpointRefused when no call will succeed.
    """
    chat_messages([], "", prompt)

    async def answer(number: int, row: Mapping[str, Any], question: str, hits: Sequence[Hit]) -> Row:
        error, text, finish = "", "", ""
        tokens = {"prompt_tokens": 0, "completion_tokens": 0}
        try:
            reply = await client.ask(
                chat_messages(hits, question, prompt), max_tokens=REPLY_TOKENS, temperature=0.0
            )
            text, finish = reply.text, reply.finish_reason
            tokens = {name: getattr(reply, name) for name in tokens}
            seconds[number] = reply.seconds
        except CallFailed as failure:
            error = failure.reason
        if on_answer:
            on_answer()
        answer = read_reply(text, hits)
        if finish == "length":
            answer["note"] = FormatError.TRUNCATED.value
        said = {"question": row["question"], **answer, "documents": list(hits), "finish_reason": finish}
        return {**said, **tokens, "model": client.endpoint.model, "error": error, "asked": dict(row)}

    seconds: list[float | None] = [None] * len(questions)
    tasks: list[asyncio.Task[Row]] = []
    try:
        for start in range(0, len(questions), _BATCH):
            batch = questions[start : start + _BATCH]
            asked = [resolve_question(str(row["question"]), row.get("chat_history") or ()) for row in batch]
            found: Sequence[Sequence[Hit]] = [()] * len(batch)
            if documents is not None:
                found = documents[start : start + _BATCH]
            elif index is not None and k > 0:
                found = await asyncio.to_thread(index.search, [one.query for one in asked], k, mode)
            tasks += [
                asyncio.create_task(answer(start + place, row, one.question, hits))
                for place, (row, one, hits) in enumerate(zip(batch, asked, found, strict=True))
            ]
        return Answers(list(await asyncio.gather(*tasks)), seconds)
    finally:
        for task in tasks:  # nothing is left running where one was refused
            task.cancel()


def read_chat_questions(path: Path) -> list[Row]:
    """Read questions to answer: JSON lines with `question`, perhaps `chat_history`, and whatever else.

    Raises UserError naming the line that cannot be read.
    """
    rows = read_questions(path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("chat_history", []), list):
            raise UserError(f"{path}, question {number}: chat_history is no list of turns")
    return rows
