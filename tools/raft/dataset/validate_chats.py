"""Validate rows for fine-tuning, chats, completions and preferences: their keys, roles and texts."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from .validate_records import Report, Row

# What OpenAI and Azure OpenAI accept besides, and no other training here knows.
_HOSTED_ROW = ("tools", "parallel_tool_calls", "functions")
_HOSTED_MESSAGE = ("name", "weight")


def validate_chat(row: Row, file: str, line: int, report: Report, *, hosted: bool = False) -> list[str]:
    """Validate a chat row as OpenAI and Azure expect it; return its texts, or none if it is invalid.

    hosted: it is for one of these two, so that their own keys are accepted.
    """

    def error(kind: str, detail: str = "") -> list[str]:
        report.add("error", file, line, kind, detail)
        return []

    messages = row.get("messages")
    if problem := _key_problem(row, ("messages",), _HOSTED_ROW, hosted):
        return error('a chat row has the single key "messages", a list', problem)
    if not isinstance(messages, list):
        return error('a chat row has the single key "messages", a list', '"messages" is not a list')
    for number, message in enumerate(messages, start=1):
        if flaw := _message_flaw(message, number, _HOSTED_MESSAGE, hosted):
            return error(*flaw)
        if "weight" in message and (message["role"] != "assistant" or message["weight"] not in (0, 1)):
            return error('"weight" is 0 or 1, of an assistant\'s message', f"message {number}")
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        rule = "roles must be system (optional), then user and assistant in turn, ending with assistant"
        return error(rule, ", ".join(map(str, roles)))
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        return error("nothing to learn", 'the "weight" of every answer is 0')
    return row_texts(row)


def validate_pair(row: Row, file: str, line: int, report: Report, *, hosted: bool = False) -> list[str]:
    """Validate a prompt with its completion; return both texts, or none if the row is invalid."""
    if problem := _key_problem(row, ("prompt", "completion"), (), hosted):
        report.add("error", file, line, 'a row has the keys "prompt" and "completion" only', problem)
        return []
    texts = [row["prompt"], row["completion"]]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        report.add("error", file, line, "prompt or completion is empty")
        return []
    return texts


def validate_preference(row: Row, file: str, line: int, report: Report, *, hosted: bool = False) -> list[str]:
    """Validate a preference pair; return the texts of prompt and preferred answer, or none if it is invalid.

    The form is that of `pairs.Pairs.make`. hosted: as in `validate_chat`.
    """

    def error(kind: str, detail: str = "") -> list[str]:
        report.add("error", file, line, kind, detail)
        return []

    shape = 'a row has the keys "input", "preferred_output" and "non_preferred_output" only'
    if problem := _key_problem(row, ("input", "preferred_output", "non_preferred_output"), (), hosted):
        return error(shape, problem)
    if not isinstance(row["input"], dict) or not isinstance(row["input"].get("messages"), list):
        return error('"input" has "messages", a list')
    if problem := _key_problem(row["input"], ("messages",), _HOSTED_ROW[:2], hosted):
        return error('"input" has the single key "messages"', problem)
    for number, message in enumerate(row["input"]["messages"], start=1):
        if flaw := _message_flaw(message, number, _HOSTED_MESSAGE[:1], hosted):
            return error(*flaw)
    roles = [message["role"] for message in row["input"]["messages"]]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if turns != ["user", "assistant"] * (len(turns) // 2) + ["user"]:
        rule = "roles must be system (optional), then user and assistant in turn, ending with user"
        return error(rule, ", ".join(map(str, roles)))
    for name in ("preferred_output", "non_preferred_output"):
        output = row[name]
        if not isinstance(output, list) or len(output) != 1:
            return error(f'"{name}" is a list of one message')
        if flaw := _message_flaw(output[0], 1, (), hosted):
            return error(flaw[0], f"{flaw[1]} of {name}")
        if output[0]["role"] != "assistant":
            return error(f'"{name}" is the assistant\'s', str(output[0]["role"]))
    preferred, other = row_sequences(row)
    if preferred[-1] == other[-1]:
        return error("both answers are the same")
    return preferred


def _message_flaw(message: Any, number: int, own: Collection[str], hosted: bool) -> tuple[str, str] | None:
    """Return what is wrong with a message and where, or None; `own` are OpenAI's keys."""
    kind = 'a message has the keys "role" and "content" only'
    if not isinstance(message, dict):
        return kind, f"message {number} is not an object"
    if problem := _key_problem(message, ("role", "content"), own, hosted):
        return kind, f"{problem} in message {number}"
    if not isinstance(message["content"], str) or not message["content"].strip():
        return "a message is empty, or no text", str(message["role"])
    return None


def tool_texts(row: Mapping[str, Any]) -> list[str]:
    """Return the definitions of tools in a chat row, which a model reads like the messages."""
    return [json.dumps(row[key], ensure_ascii=False) for key in ("tools", "functions") if row.get(key)]


def row_texts(row: Mapping[str, Any]) -> list[str]:
    """Return all that a model reads or learns of a valid row, a chat or a completion."""
    if "messages" in row:
        return [*tool_texts(row), *(message["content"] for message in row["messages"])]
    return [row["prompt"], row["completion"]]


def row_sequences(row: Mapping[str, Any]) -> list[list[str]]:
    """Return the texts of each sequence that a row makes: one, or of a preference two with the same prompt.

    The preferred answer comes first.
    """
    if "preferred_output" not in row:
        return [row_texts(row)]
    prompt = row_texts(row["input"])
    return [
        [*prompt, *(message["content"] for message in row[name])]
        for name in ("preferred_output", "non_preferred_output")
    ]


def _key_problem(row: Row, needed: Collection[str], own: Collection[str], hosted: bool) -> str:
    """Return which key is missing or too much, or an empty string; `own` are OpenAI's keys."""
    if missing := [key for key in needed if key not in row]:
        return f'"{missing[0]}" is missing'
    extra = [key for key in row if key not in needed and not (hosted and key in own)]
    if not extra:
        return ""
    return f'"{extra[0]}" is ' + ("for OpenAI only" if extra[0] in own else "too much")
