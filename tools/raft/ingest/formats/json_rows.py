"""Read JSON and JSONL: rows with a text field and API documentation, each row a document."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...records import Kind
from .parsed import Unreadable
from .plain import decode

_API_FIELDS = ("api_call", "api_name", "api_arguments", "api_signature")
_NAME = ("api_name", "name", "title", "api_call", "call", "signature", "endpoint")  # the first one present
_LEAD = (*_NAME, "description", "functionality")
_CODE = ("example_code", "example", "examples", "code")
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
    try:
        value = json.loads(decode(data))
    except (ValueError, RecursionError) as error:
        if not _is_lines(data):
            raise Unreadable(f"not JSON: {_short(error)}") from None
        yield from read_jsonl_rows(data, text_field=text_field)
        return
    if isinstance(value, dict) and text_field not in value and not _is_api(value):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner]
        if len(lists) != 1:
            raise Unreadable(_no_text(value, text_field))
        value = lists[0]
    rows = value if isinstance(value, list) else [value]
    if not rows:
        raise Unreadable("empty list")
    for number, row in enumerate(rows, start=1):
        yield _item(row, number, text_field)


def _is_lines(data: bytes) -> bool:
    """Return whether a .json file holds JSON lines: its first line alone is an object."""
    try:
        return isinstance(json.loads(data.lstrip().partition(b"\n")[0]), dict)
    except (ValueError, RecursionError):
        return False


def read_jsonl_rows(data: bytes, *, text_field: str) -> Iterator[Item]:
    """Yield the rows of a JSONL file, one a line, without blank lines.

    Raises Unreadable if it is not text.
    """
    for number, line in enumerate(decode(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield Item(number, reason=f"not JSON: {_short(error)}")
            continue
        yield _item(row, number, text_field)


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
    page = row.get("page")
    if not isinstance(page, int) or isinstance(page, bool) or not 0 < page <= _MAX_PAGE:
        page = None
    return Item(number, text.strip(), _first_text(row, "title"), _first_text(row, "source"), page)


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
        if value in (None, "", [], {}):
            continue
        label = field.removeprefix("api_").replace("_", " ").capitalize()
        if field in _CODE:
            lines.append(f"{label}:\n{_code(value)}")
        else:
            lines.append(f"{label}: {_plain(value)}")
    return "\n".join(lines).strip()


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}: {_nested(inner)}" for key, inner in value.items())
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
