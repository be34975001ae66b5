"""Read JSON and JSONL: rows with a text field and API documentation, each row a document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...records import Kind
from .parsed import Unreadable, count_characters
from .plain import decode, remove_codes

_API_FIELDS = ("api_call", "api_name", "api_arguments", "api_signature")
_CALL = ("api_call", "call")
_NAME = ("api_name", "name", "title", *_CALL, "signature", "endpoint")  # the first one present
_LEAD = (*_NAME, "description", "functionality")
_CODE = ("example_code", "example", "examples", "code")
_EMPTY: tuple[object, ...] = (None, "", [], {})
_MAX_PAGE = 100_000


@dataclass(frozen=True)
class Item:
    """A row: a document, or the reason why it is not one."""

    number: int  # 1-based line or list position
    text: str = ""
    title: str = ""
    source: str = ""  # from the row itself; empty if it names none
    page: int | None = None
    kind: Kind = "text"
    reason: str = ""
    left_out: Mapping[str, int] | None = None  # characters, by reason


def read_json_rows(data: bytes, *, text_field: str) -> Iterator[Item]:
    """Yield the rows of a JSON file: a list of rows or strings, one row, or an object with one list of rows.

    Raises Unreadable if it is not JSON or has none of these forms.
    """
    text = decode(data)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not _is_lines(text):
            raise Unreadable(f"not JSON: {_short(error)}") from None
        yield from _read_lines(text, text_field)
        return
    yield from _read_value(value, text_field)


def read_jsonl_rows(data: bytes, *, text_field: str) -> Iterator[Item]:
    """Yield the rows of a JSONL file, one a line, without blank lines; one JSON value is read as JSON.

    Raises Unreadable if it is not text.
    """
    text = decode(data)
    if not _is_lines(text):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass  # each broken line is reported
        else:
            yield from _read_value(value, text_field)
            return
    yield from _read_lines(text, text_field)


def _is_lines(text: str) -> bool:
    """Return whether a text holds JSON lines: its first line alone is an object."""
    try:
        return isinstance(json.loads(_lines(text.lstrip(), 1)[0]), dict)
    except (ValueError, RecursionError):
        return False


def _lines(text: str, most: int = 0) -> list[str]:
    """Split a text at line ends; others than CR and LF may stand in the texts of JSON."""
    return re.split(r"\r\n?|\n", text, maxsplit=most)


def _read_value(value: Any, text_field: str) -> Iterator[Item]:
    if isinstance(value, dict) and text_field not in value and not _is_api(value):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner]
        if len(lists) != 1:
            raise Unreadable(_no_text(value, text_field))
        value = lists[0]
    rows = value if isinstance(value, list) else [value]
    if not rows:
        raise Unreadable("empty list")
    for number, row in enumerate(rows, start=1):
        yield row_item(row, number, text_field)


def _read_lines(text: str, text_field: str) -> Iterator[Item]:
    for number, line in enumerate(_lines(text), start=1):
        line = line.lstrip("\ufeff")  # files that were joined
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Item(number, reason=f"not JSON: {_short(error)}")
            continue
        yield row_item(row, number, text_field)


def row_item(row: object, number: int, text_field: str) -> Item:
    """Return a row as a document, or the reason why it is none. Fields that are not used are counted."""
    try:
        return _item(row, number, text_field)
    except RecursionError as error:
        return Item(number, reason=_short(error))
    except Unreadable as error:
        return Item(number, reason=str(error))


def _item(row: object, number: int, text_field: str) -> Item:
    if isinstance(row, str):
        row = {text_field: row}
    if not isinstance(row, dict):
        return Item(number, reason="not an object with a text field")
    if _is_api(row):
        title, source = _first_text(row, *_NAME), _first_text(row, "source")
        return Item(number, render_api(row), title, source, kind="api")
    text = row.get(text_field)
    if not isinstance(text, str):
        return Item(number, reason=_no_text(row, text_field))
    if not text.strip():
        return Item(number, reason="empty")
    text, left_out = remove_codes(text.strip())
    page = int(row["page"]) if re.fullmatch(r"[0-9]{1,6}", str(row.get("page"))) else 0
    used = {text_field, "title", "source", "page"}
    left_out["other fields"] = sum(_count(value) for field, value in row.items() if field not in used)
    title, source = _first_text(row, "title"), _first_text(row, "source")
    return Item(number, text, title, source, page if 0 < page <= _MAX_PAGE else None, left_out=left_out)


def _count(value: object) -> int:
    """Count the characters of a value and of the values in it, without the names of fields."""
    if isinstance(value, dict):
        return sum(map(_count, value.values()))
    if isinstance(value, list):
        return sum(map(_count, value))
    return count_characters(str(value)) if isinstance(value, str | int | float) else 0


def _is_api(row: Mapping[str, Any]) -> bool:
    """Return whether a row is an API entry: by its own fields, or described like a function or endpoint."""
    if any(isinstance(row.get(field), str) for field in _API_FIELDS):
        return True
    described = isinstance(row.get("description"), str)
    return described and ("signature" in row or "endpoint" in row or ("name" in row and "parameters" in row))


def render_api(entry: Mapping[str, Any]) -> str:
    """Render an API entry as text: one field a line, the name first, the example last, values in full."""
    fields = [field for field in _LEAD if field in entry]
    fields += [field for field in entry if field not in (*_LEAD, *_CODE)]
    fields += [field for field in _CODE if field in entry]
    lines = []
    for field in fields:
        value = entry[field]
        if value in _EMPTY:
            continue
        label = field.removeprefix("api_").replace("_", " ").capitalize()
        if field in _CODE:
            lines.append(f"{label}:\n{_code(value)}")
        elif field in _CALL:  # on one line, where `text/api_calls.py` finds it
            lines.append(f"{label}: {' '.join(_plain(value).split())}")
        else:
            lines.append(f"{label}: {_plain(value)}")
    return "\n".join(lines).strip()


def _plain(value: object) -> str:
    if isinstance(value, dict):
        # A key without a value says something, too: the name of a package, without a version.
        return "; ".join(
            key if inner in _EMPTY else f"{key}: {_nested(inner)}" for key, inner in value.items()
        )
    if isinstance(value, list):
        return ", ".join(_nested(inner) for inner in value)
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _nested(value: object) -> str:
    return f"({_plain(value)})" if isinstance(value, dict | list) else _plain(value)


def _code(value: object) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return value.strip() if isinstance(value, str) else _plain(value)


def _first_text(row: Mapping[str, Any], *fields: str) -> str:
    texts = (row[field].strip() for field in fields if isinstance(row.get(field), str))
    return next((text for text in texts if text), "")


def _no_text(row: Mapping[str, Any], text_field: str) -> str:
    fields = ", ".join(list(row)[:8]) or "none"
    return f'no text field "{text_field}" (its fields: {fields})'


def _short(error: BaseException) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:120]
