"""Answer questions from an index as the chat flows do: retrieve documents, ask the model, parse its reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import Mode, Prompt, Quotes
from ..errors import UserError
from ..models.client import Client
from ..models.failed_calls import CallFailed
from ..prompts import Message, render
from ..questions import read_questions
from ..raft_format import FormatError, format_instruction
from ..text.sanitize import defuse_roles, sanitize
from .answerability import explain_refusal
from .citations import read_reply, refuse
from .follow_up import resolve_question
from .quoting import PROMPT as NUMBERED, constrain_quotes, fill_in, number_sentences

if TYPE_CHECKING:
    from .answerability import Answerability
    from .focus import Focus
    from .index import Hit, Index

DOCUMENTS = 4  # as many as a row of the dataset has by default: an oracle and three distractors
REPLY_TOKENS = 512  # as in the flows' model node
PROMPTS: dict[Prompt, str] = {
    "chain_of_thought": "raft_answer.jinja2",
    "plain": "plain_answer.jinja2",
    "few_shot": "few_shot_answer.jinja2",
    "closed_book": "closed_book_answer.jinja2",
}
_BATCH = 32  # questions retrieved at a time: the model answers the first while the next are retrieved

Row = dict[str, Any]


@dataclass
class Answers:
    """Questions with their answers, in order; the row of a failed call has the reason in `error`."""

    rows: list[Row]
    # Duration of each call, None if it failed or came from the cache: kept out of the rows, which are
    # the same in every run.
    seconds: list[float | None]

    @property
    def failed(self) -> int:
        """Count the questions that got no reply."""
        return sum(bool(row["error"]) for row in self.rows)


def build_instruction(hits: Sequence[Hit], question: str) -> str:
    """Sanitize documents and question and format them for the prompt exactly as in the training rows."""
    texts = [sanitize(hit.get("focus", hit["text"])) for hit in hits]
    return defuse_roles(format_instruction(texts, sanitize(question)))


def chat_messages(hits: Sequence[Hit], question: str, prompt: Prompt = "chain_of_thought") -> list[Message]:
    """Build the messages that the chat flows send; raises UserError for an unknown prompt."""
    if prompt not in PROMPTS:
        raise UserError(f"unknown prompt {prompt!r}: choose one of {', '.join(PROMPTS)}")
    return render(PROMPTS[prompt], instruction=build_instruction(hits, question), question=sanitize(question))


def numbered_messages(hits: Sequence[Hit], question: str) -> list[Message]:
    """Build the messages for a reply under a JSON schema, the documents' sentences numbered."""
    instruction = defuse_roles(format_instruction(number_sentences(hits), sanitize(question)))
    return render(NUMBERED, instruction=instruction)


async def answer_questions(
    questions: Sequence[Mapping[str, Any]],
    index: Index | None,
    client: Client,
    *,
    k: int = DOCUMENTS,
    mode: Mode = "fused",
    prompt: Prompt = "chain_of_thought",
    documents: Sequence[Sequence[Hit]] | None = None,
    focus: Focus | None = None,
    answerability: Answerability | None = None,
    quotes: Quotes = "free",
    max_tokens: int = REPLY_TOKENS,
    on_answer: Callable[[Row], None] = lambda row: None,
) -> Answers:
    """Answer many questions: retrieve in batches, with as many calls at a time as the client allows.

    A question is a mapping with `question` and optionally `chat_history`; the whole mapping is kept in
    `asked`. Without an index the model is given no documents; `documents`, retrieved before, replace the
    search, and `focus` cuts them to their best sentences. `answerability` refuses questions whose documents
    are unlikely to hold an answer, without a call; `evidence` is the probability that they do. `quotes` says
    how the server can hold quotes to the documents' sentences. The row of a failed call has the reason and an
    empty answer. `on_answer` is called with each row as it is answered. Raises EndpointRefused if no call can
    succeed.
    """
    chat_messages([], "", prompt)

    async def answer(number: int, row: Mapping[str, Any], question: str, hits: Sequence[Hit]) -> Row:
        error, text, finish, model = "", "", "", client.endpoint.model
        tokens = {"prompt_tokens": 0, "completion_tokens": 0}
        reason = explain_refusal(hits)
        numbered = quotes == "schema" and bool(hits)
        try:
            if not reason:
                reply = await client.ask(
                    numbered_messages(hits, question) if numbered else chat_messages(hits, question, prompt),
                    max_tokens=max_tokens,
                    temperature=0.0,
                    extra=constrain_quotes(hits, quotes),
                )
                text = fill_in(reply.text, hits) if numbered else reply.text
                finish, model = reply.finish_reason, reply.model
                tokens = {name: getattr(reply, name) for name in tokens}
                seconds[number] = reply.seconds
        except CallFailed as failure:
            error = failure.reason
        answer = refuse(reason) if reason else read_reply(text, hits)
        if finish == "length":
            answer["note"] = (FormatError.TRUNCATED if text else FormatError.THOUGHT_ONLY).value
        answered = {
            "question": row["question"],
            **answer,
            "evidence": hits[0].get("evidence") if hits else None,
            "documents": list(hits),
            "finish_reason": finish,
            **tokens,
            "model": model,
            "error": error,
            "asked": dict(row),
        }
        on_answer(answered)
        return answered

    seconds: list[float | None] = [None] * len(questions)
    tasks: list[asyncio.Task[Row]] = []
    try:
        for start in range(0, len(questions), _BATCH):
            batch = questions[start : start + _BATCH]
            resolved = [
                resolve_question(str(row["question"]), row.get("chat_history") or ()) for row in batch
            ]
            found: Sequence[Sequence[Hit]] = [()] * len(batch)
            if documents is not None:
                found = documents[start : start + _BATCH]
            elif index is not None and k > 0:
                found = await asyncio.to_thread(index.search, [item.query for item in resolved], k, mode)
            queries = [item.query for item in resolved]
            if answerability is not None:
                found = await asyncio.to_thread(answerability.rate, queries, found)
            if focus is not None:
                found = await asyncio.to_thread(focus.cut, queries, found)
            tasks += [
                asyncio.create_task(answer(start + i, row, item.question, hits))
                for i, (row, item, hits) in enumerate(zip(batch, resolved, found, strict=True))
            ]
        return Answers(list(await asyncio.gather(*tasks)), seconds)
    finally:
        for task in tasks:  # if the endpoint refused one, the others must not go on
            task.cancel()


def read_chat_questions(path: Path) -> list[Row]:
    """Read questions to answer: JSON lines with `question`, optionally `chat_history`, and any other keys.

    Raises UserError with the number of the first invalid line.
    """
    rows = read_questions(path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("chat_history", []), list):
            raise UserError(f"{path}, question {number}: chat_history must be a list of turns")
    return rows
