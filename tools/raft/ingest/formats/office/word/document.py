"""Read Word documents through pandoc's HTML, which markup.py converts."""

from __future__ import annotations

from collections import Counter

from ...html.markup import parse_markup
from ...pandoc import convert_to_html, place_notes
from ...parsed import Parsed, make_parsed
from ..number_mark import place_numbers
from .prepare import prepare_docx


def read_docx(path: str) -> Parsed:
    """Read a Word document: all that its pages show, no pictures.

    Raises Unreadable if it is broken, encrypted, or unpacks to more than MAX_UNPACKED.
    """
    prepared, account = prepare_docx(path)
    parsed = parse_markup(place_notes(convert_to_html(prepared, "docx").html))
    title = place_numbers(parsed["title"]) or account.title
    left_out = account.left_out + Counter(parsed["left_out"])
    return make_parsed(
        place_numbers(parsed["text"]),
        title=title,
        notes=account.notes,
        seen=account.seen,
        left_out=left_out,
    )
