"""Read the body of a reply: its text without the model's thoughts, its tokens; or why it cannot be used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..text.thoughts import drop_thoughts
from .failures import describe_body, error_message

# Where servers put the thoughts of a model that they have parted from its answer.
_THOUGHT_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
_TEXT_PARTS = ("text", "output_text", None)


@dataclass(frozen=True)
class Reply:
    """What the model returned. A `cached` reply costs nothing now; its tokens are those once paid for."""

    text: str  # without the model's thoughts
    finish_reason: str  # "stop", "length", ...
    prompt_tokens: int
    completion_tokens: int
    cached: bool
    # (token, natural logarithm of its probability), if `extra` requested "logprobs"
    logprobs: tuple[tuple[str, float], ...] = ()
    seconds: float | None = None  # duration of the successful attempt; None if cached
    thought: bool = False  # the model thought before it answered, or used up its tokens unseen
    model: str = ""  # that was asked, as its endpoint names it


@dataclass(frozen=True)
class Vectors:
    """What an embeddings endpoint returned."""

    vectors: list[list[float]]
    prompt_tokens: int
    completion_tokens: int = 0
    seconds: float | None = None


class BadReply(Exception):
    """A body that holds no usable reply; `reason` says why.

    final: the model or a filter declined, so that another try would not help. status: of an error that a
    server sent under status 200.
    """

    def __init__(self, reason: str, *, final: bool = False, status: int = 0) -> None:
        super().__init__(reason)
        self.reason, self.final, self.status = reason, final, status


def parse_reply(raw: bytes) -> Reply:
    """Parse a reply of the chat or the completion API. Raises BadReply if it has no text."""
    choice, response = _first_choice(raw)
    message = choice.get("message") or choice
    if not isinstance(message, Mapping):
        raise BadReply(describe_body(raw))
    try:
        usage = response.get("usage") or {}
        tokens = (choice.get("logprobs") or {}).get("content") or []
        logprobs = tuple((str(token["token"]), float(token["logprob"])) for token in tokens)
        counts = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise BadReply(describe_body(raw)) from None
    finish = str(choice.get("finish_reason") or "stop")
    if finish == "content_filter":
        raise BadReply("the endpoint's content filter stopped the reply", final=True)
    text, thought = drop_thoughts(_text(message.get("content", message.get("text"))))
    thought = thought or any(message.get(field) for field in _THOUGHT_FIELDS) or _has_thoughts(message)
    if not text.strip():
        _check_empty(message, choice, finish, thought)
        text, thought = "", True
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot be stored
    return Reply(text, finish, *counts, cached=False, logprobs=logprobs, thought=thought)


def _first_choice(raw: bytes) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the first choice of a response, and the response."""
    try:
        response = json.loads(raw.decode("utf-8-sig"))
        choice = response["choices"][0]
    except (ValueError, LookupError, TypeError):
        raise BadReply(describe_body(raw), status=_error_status(raw)) from None
    if not isinstance(choice, Mapping) or not isinstance(response, Mapping):
        raise BadReply(describe_body(raw))
    return choice, response


def _error_status(raw: bytes) -> int:
    """Return the HTTP status inside an error that came with status 200, as gateways send it; 0 without."""
    try:
        code = json.loads(raw)["error"]["code"]
        return int(code) if 400 <= int(code) < 600 else 0
    except (ValueError, LookupError, TypeError):
        return 0


def _text(content: Any) -> str:
    """Return the text of a message's content: a string, or a list of parts (OpenAI, Mistral, Anthropic)."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    texts = [
        part if isinstance(part, str) else part.get("text")
        for part in parts
        if isinstance(part, str) or (isinstance(part, Mapping) and part.get("type") in _TEXT_PARTS)
    ]
    return "".join(text for text in texts if isinstance(text, str))


def _has_thoughts(message: Mapping[str, Any]) -> bool:
    """Return whether a part of the content is a thought."""
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") in ("thinking", "reasoning") for part in content
    )


def _check_empty(message: Mapping[str, Any], choice: Mapping[str, Any], finish: str, thought: bool) -> None:
    """Raise BadReply with the reason why a message has no text, unless it was cut off before its first."""
    if refusal := message.get("refusal"):
        raise BadReply(f"the model refused: {refusal}", final=True)
    if error := error_message(choice.get("error")):
        raise BadReply(f"an error: {error}")
    if finish == "length":
        return
    if thought:
        raise BadReply("a reply that is reasoning only, without an answer")
    if message.get("tool_calls"):
        raise BadReply("a reply that calls a tool instead of answering")
    content = message.get("content")
    if isinstance(content, list) and content:
        kinds = {str(part.get("type")) if isinstance(part, Mapping) else "?" for part in content}
        raise BadReply(f"a reply without text, of parts {', '.join(sorted(kinds))}")
    raise BadReply("an empty reply")


def parse_vectors(raw: bytes, *, count: int) -> Vectors:
    """Parse `count` vectors of one length. Raises BadReply if the reply is anything else."""
    try:
        response = json.loads(raw)
        rows = sorted(response["data"], key=lambda row: row["index"])
        vectors = [[float(value) for value in row["embedding"]] for row in rows]
        tokens = int((response.get("usage") or {}).get("prompt_tokens") or 0)
    except (ValueError, LookupError, TypeError, AttributeError):
        reason = describe_body(raw).replace("no usable reply", "no usable embeddings")
        raise BadReply(reason, status=_error_status(raw)) from None
    if len(vectors) != count or len({len(vector) for vector in vectors}) != 1 or not vectors[0]:
        raise BadReply(f"{len(vectors)} embeddings for {count} texts, or of several lengths")
    return Vectors(vectors, tokens)
