"""Make a follow-up such as "and its weight?" self-contained, using the turns before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UserError
from ..text.sanitize import sanitize

_MAX_TURNS = 2  # earlier questions that are included
_MAX_ANSWER = 200  # characters of the last answer: a longer one would outweigh the questions


class ResolvedQuestion(NamedTuple):
    """A question with what it refers to: the retriever's query, and the question for the model."""

    query: str
    question: str


def resolve_question(question: str, history: Sequence[Mapping[str, Any]] = ()) -> ResolvedQuestion:
    """Prepend the preceding turns to a question; without history it is returned unchanged.

    No model rewrites the question: that would take a second call and a model capable of it. The last two
    questions and the last answer contain the words a follow-up leaves out, in any language. The
    retriever's query contains the question itself twice, so that a change of subject is found too.
    `history` is promptflow's, [{"inputs": {"question": …}, "outputs": {"answer": …}}, …], or OpenAI's,
    [{"role": "user", "content": …}, {"role": "assistant", "content": …}, …]; if a turn has only the `reply`
    for people, its first line is the answer. Raises UserError if the question is empty or a turn has neither
    form.
    """
    if not sanitize(question).strip():
        raise UserError("question is empty: type what you want to know")
    turns = [turn for turn in _read_turns(history) if turn[0]][-_MAX_TURNS:]
    if not turns:
        question = sanitize(question).strip()
        return ResolvedQuestion(question, question)
    earlier = [text for text, _ in turns]
    if turns[-1][1]:
        earlier[-1] = f"{earlier[-1]} {turns[-1][1][:_MAX_ANSWER]}"
    lines = [*earlier, question.strip()]
    return ResolvedQuestion(sanitize("\n".join([*lines, question.strip()])), sanitize("\n".join(lines)))


def _read_turns(history: Sequence[Any]) -> list[tuple[str, str]]:
    """Read question and answer of each turn, both on one line; the history is untrusted input."""
    turns: list[tuple[str, str]] = []
    for number, turn in enumerate(history, start=1):
        if not isinstance(turn, dict) or not {"inputs", "role"} & turn.keys():
            raise UserError(
                f'chat_history, turn {number}: must have "inputs" and "outputs", or "role" and "content"'
            )
        if "inputs" in turn:
            answer = _text(turn, "outputs", "answer") or _first_line(turn, "outputs", "reply")
            turns.append((_text(turn, "inputs", "question"), answer))
        elif turn["role"] == "user":
            turns.append((_text({"turn": turn}, "turn", "content"), ""))
        elif turn["role"] == "assistant" and turns:
            turns[-1] = (turns[-1][0], _first_line({"turn": turn}, "turn", "content"))
    return turns


def _text(turn: Mapping[str, Any], side: str, name: str) -> str:
    """Read one text of a turn, on one line; an empty one if it is something else."""
    values = turn.get(side)
    value = values.get(name) if isinstance(values, dict) else None
    return " ".join(value.split()) if isinstance(value, str) else ""


def _first_line(turn: Mapping[str, Any], side: str, name: str) -> str:
    """Read the first line of a text for people: its answer."""
    values = turn.get(side)
    value = values.get(name) if isinstance(values, dict) else None
    return " ".join(value.strip().partition("\n")[0].split()) if isinstance(value, str) else ""
