"""Read the inputs of a chat from a request or a line, in the types that flow.dag.yaml gives them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tools.raft.errors import UserError
from workflows.chat import Turn


def read_turn(given: Any) -> Turn:
    """Return a question with its inputs; anything else is ignored. Raises UserError for a wrong one."""
    if not isinstance(given, Mapping) or "question" not in given:
        raise UserError('question is missing: send a JSON object such as {"question": "…"}')
    if not isinstance(given["question"], str):
        raise UserError('question must be a text, such as {"question": "…"}')
    history = given.get("chat_history", [])
    if isinstance(history, str):  # as promptflow takes it
        history = _parse(history)
    if not isinstance(history, list):
        raise UserError("chat_history must be a list of turns")
    return Turn(given["question"], history, _flag(given, "focus"), _flag(given, "always_answer"))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _flag(given: Mapping[str, Any], name: str) -> bool:
    value = given.get(name, False)
    if isinstance(value, str) and value.lower() in ("true", "false"):
        value = value.lower() == "true"
    if not isinstance(value, bool):
        raise UserError(f"{name} must be true or false")
    return value
