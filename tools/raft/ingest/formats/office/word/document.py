"""Read Word documents through pandoc's HTML, which markup.py converts."""

from __future__ import annotations

from collections import Counter
from typing import Any

from lxml import html

from ...html.markup import parse_markup
from ...parsed import Parsed, make_parsed
from ..number_mark import place_numbers
from ..pandoc import convert_to_html
from .prepare import prepare_docx


def read_docx(path: str) -> Parsed:
    """Read a Word document: all that its pages show, no pictures.

    Raises Unreadable if it is broken, encrypted, or unpacks to more than MAX_UNPACKED.
    """
    prepared, account = prepare_docx(path)
    parsed = parse_markup(_place_notes(convert_to_html(prepared, "docx")))
    title = place_numbers(parsed["title"]) or account.title
    left_out = account.left_out + Counter(parsed["left_out"])
    return make_parsed(
        place_numbers(parsed["text"]),
        title=title,
        notes=account.notes,
        seen=account.seen,
        left_out=left_out,
    )


def _place_notes(markup: str) -> str:
    """Return pandoc's HTML with "[1]" where it refers to a footnote, and at the note itself."""
    if "footnote" not in markup:
        return markup
    root = html.fragment_fromstring(markup, create_parent="div", parser=html.HTMLParser(huge_tree=True))
    for reference in root.findall(".//a[@class='footnote-ref']"):
        _replace_by_text(reference, f"[{reference.text_content()}]")
    for link in root.findall(".//a[@class='footnote-back']"):
        _replace_by_text(link, "")
    for notes in root.xpath(".//*[contains(@class, 'footnotes')]"):
        notes.tag = "div"
        notes.attrib.clear()
        for note in notes.findall("./ol/li"):
            first = note.find("p") if note.find("p") is not None else note
            first.text = f"[{(note.get('id') or '').removeprefix('fn')}] {first.text or ''}"
            note.tag = "div"
            note.attrib.clear()
            notes.append(note)
        for element in (*notes.findall("hr"), *notes.findall("ol")):
            element.drop_tree()
    return html.tostring(root, encoding="unicode")


def _replace_by_text(element: Any, text: str) -> None:
    element.tail = text + (element.tail or "")
    element.drop_tree()
