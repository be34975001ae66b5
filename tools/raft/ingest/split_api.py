"""Cut a long API entry into its lines; each part of it will repeat the lines up to the call."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..text.api_calls import call_field
from .split_units import ITEM, PARAGRAPH, Unit

_LINE = re.compile(r"\S[^\n]*")
_FIELD = re.compile(r"[A-Z][\w ]*:")


def head_end(text: str) -> int:
    """Return the end of what each part of an entry repeats: all up to its call, or its first line."""
    call = call_field(text)
    return text.index(call) + len(call) if call else len(text.partition("\n")[0])


def cut_entry(text: str, start: int) -> Iterator[Unit]:
    """Yield the lines of an entry from an offset on; one that begins a field is the better place to cut."""
    for line in _LINE.finditer(text, start):
        yield Unit(*line.span(), PARAGRAPH if _FIELD.match(line.group()) else ITEM)
