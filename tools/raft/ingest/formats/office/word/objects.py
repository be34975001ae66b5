"""Write out what Word keeps outside its paragraphs: text boxes, diagrams, charts, inserted files."""

from __future__ import annotations

from typing import Any

from ...html.markup import parse_markup
from ...parsed import count_characters
from ..drawings import read_chart, read_diagram, unread_object
from ..ooxml import make, make_paragraph, relation_id, remove, tag, text_of
from ..unpack import parse_xml

Relations = dict[str, tuple[str, str]]  # id → type and name of the part


def place_objects(root: Any, related: Relations, parts: dict[str, bytes]) -> tuple[int, list[str]]:
    """Put the text of objects after the paragraph they hang on.

    Returns how many characters came from other parts, and notes on what could not be read.
    """
    count = 0
    notes: list[str] = []
    for chunk in list(root.iter(tag("w:altChunk"))):
        blocks = _read_file(related.get(relation_id(chunk), ("", ""))[1], parts, notes)
        count += _place(blocks, chunk)
        remove(chunk)
    # Paragraphs of a box, with boxes of their own, are in the list as well.
    for paragraph in list(root.iter(tag("w:p"))):
        place = paragraph
        for element in [one for one in paragraph.iter(*_OBJECTS) if _paragraph_of(one) is paragraph]:
            remove(element)
            if element.tag == tag("w:txbxContent"):
                blocks = list(element)
                _place(blocks, place)
            elif element.tag == tag("o:OLEObject"):
                kind = element.get("ProgID") or "of no kind"
                notes.append(_describe(kind))
                blocks = []
            else:
                part = parts.get(related.get(relation_id(element), ("", ""))[1])
                write = _write_chart if element.tag == tag("c:chart") else _write_diagram
                blocks = write(parse_xml(part)) if part else []
                count += _place(blocks, place)
            place = blocks[-1] if blocks else place
    return count, notes


def _describe(kind: str) -> str:
    if kind.startswith("Equation"):
        return f"formulas of an older kind ({kind}) are not read: convert them in Word"
    return unread_object(kind)


def _place(blocks: list[Any], place: Any) -> int:
    """Put blocks after an element; return how many characters they have."""
    for block in reversed(blocks):
        place.addnext(block)
    return sum(count_characters(text_of(block, tag("w:t"))) for block in blocks)


_OBJECTS = tuple(map(tag, ("w:txbxContent", "c:chart", "dgm:relIds", "o:OLEObject")))


def _paragraph_of(element: Any) -> Any:
    return next(element.iterancestors(tag("w:p")), None)


def _read_file(name: str, parts: dict[str, bytes], notes: list[str]) -> list[Any]:
    """Return an inserted HTML or text file as paragraphs, or add a note on a file of another kind."""
    text = parts.get(name, b"").decode("utf-8", "replace")
    if name.lower().endswith((".html", ".htm", ".xhtml")):
        text = parse_markup(text)["text"]
    elif not name.lower().endswith(".txt"):
        shown = name.rpartition("/")[2] or "missing"
        notes.append(f"an inserted file ({shown}) is not read: open and save the document in Word")
        return []
    return [make_paragraph(block) for block in text.split("\n\n") if block.strip()]


def _write_diagram(root: Any) -> list[Any]:
    return [make_paragraph(text) for text in read_diagram(root)]


def _write_chart(root: Any) -> list[Any]:
    title, rows = read_chart(root)
    blocks = [make_paragraph(title)] if title else []
    return [*blocks, make_table(rows)] if rows else blocks


def make_table(rows: list[list[str]]) -> Any:
    """Make a table of texts, its first row the head."""
    width = max(map(len, rows))
    table = make("tbl", make("tblPr"), make("tblGrid", *(make("gridCol") for _ in range(width))))
    for row in rows:
        table.append(make("tr", *(make("tc", make_paragraph(text)) for text in row)))
    return table
