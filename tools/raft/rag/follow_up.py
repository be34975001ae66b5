"""Make a follow-up such as "and its weight?" stand by itself, by the turns before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UserError
from ..text.sanitize import sanitize

_TURNS = 2  # earlier questions that are carried along
_LONGEST = 200  # characters of an earlier answer: what is longer is no answer but a lecture


class ResolvedQuestion(NamedTuple):
    """A question with what it refers to: as the retriever is asked, and as the model is."""

    query: str
    question: str


def resolve_question(question: str, history: Sequence[Mapping[str, Any]] = ()) -> ResolvedQuestion:
    """Put the turns before a question in front of it; without any it stays as it is.

    No model rewrites it: that would be a second call, and needs a model that can. The two earlier
    questions and the last answer hold the words a follow-up leaves out, in any language. In the
    retriever's query the question itself stands twice, so that a change of subject is found too.
    `history` is promptflow's: [{"inputs": {"question": …}, "outputs": {"answer": …}}, …]; where only
    the `reply` for people came back, its first line is the answer. Raises UserError if nothing is asked.
    """
    if not sanitize(question).strip():
        raise UserError("question: empty; type what you want to know")
    turns = [(_text(turn, "inputs", "question"), _answer(turn)) for turn in history]
    turns = [turn for turn in turns if turn[0]][-_TURNS:]
    if not turns:
        question = sanitize(question).strip()
        return ResolvedQuestion(question, question)
    earlier = [asked for asked, _ in turns]
    if turns[-1][1]:
        earlier[-1] = f"{earlier[-1]} {turns[-1][1][:_LONGEST]}"
    lines = [*earlier, question.strip()]
    return ResolvedQuestion(sanitize("\n".join([*lines, question.strip()])), sanitize("\n".join(lines)))


def _answer(turn: Mapping[str, Any]) -> str:
    return _text(turn, "outputs", "answer") or _text(turn, "outputs", "reply")


def _text(turn: Mapping[str, Any], side: str, name: str) -> str:
    """Read one text of a turn, on one line; the history comes from outside and may be anything."""
    values = turn.get(side) if isinstance(turn, dict) else None
    value = values.get(name) if isinstance(values, dict) else None
    if not isinstance(value, str):
        return ""
    return " ".join((value.partition("\n")[0] if name == "reply" else value).split())
