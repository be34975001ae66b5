"""Vendors' published schemas, against which scripted services check what they get and what they answer."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any


@cache
def _read(file: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((Path(__file__).parent / file).read_text(encoding="utf-8"))
    return schema


def deviation(file: str, name: str, value: Any, *, sent: bool = False) -> str:
    """Return how a value deviates from a definition of a file in this folder, or "".

    sent: the value is a client's, which must not contain what only the service writes.
    """
    from jsonschema import Draft202012Validator, ValidationError

    definitions = _read(file)["$defs"]
    definitions = _without_read_only(definitions) if sent else definitions
    try:
        Draft202012Validator({**definitions[name], "$defs": definitions}).validate(value)
    except ValidationError as error:
        return f"{error.json_path}: {error.message}"
    return ""


def values(file: str, name: str) -> list[str]:
    """Return the values of an enumeration."""
    names: list[str] = _read(file)["$defs"][name]["enum"]
    return names


def _without_read_only(definitions: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {
            **definition,
            "properties": {
                key: value
                for key, value in definition.get("properties", {}).items()
                if not value.get("readOnly")
            },
        }
        if "properties" in definition
        else definition
        for name, definition in definitions.items()
    }
