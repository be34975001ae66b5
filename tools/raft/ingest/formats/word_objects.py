"""Write out what Word keeps outside its paragraphs: text boxes, diagrams, charts, inserted files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .markup import parse_markup
from .unpack import parse_xml
from .word_xml import child, make, make_paragraph, remove, tag

Relations = dict[str, tuple[str, str]]  # id → type and name of the part


def place_objects(root: Any, related: Relations, parts: dict[str, bytes]) -> Iterator[str]:
    """Put the text of objects after the paragraph they hang on; yield what could not be read of them."""
    for chunk in list(root.iter(tag("w:altChunk"))):
        yield from _insert_file(chunk, related, parts)
    for paragraph in list(root.iter(tag("w:p"))):
        # Boxes in a box are reached when the paragraphs of the box are.
        place = paragraph
        for element in [
            element for element in paragraph.iter(*_OBJECTS) if _paragraph_of(element) is paragraph
        ]:
            if element.tag == tag("w:txbxContent"):
                blocks = list(element)
            elif element.tag == tag("o:OLEObject"):
                blocks = []
                kind = element.get("ProgID") or "of no kind"
                yield f"an embedded object ({kind}) is not read: save it as a file of its own"
            else:
                part = parts.get(related.get(_relation_id(element), ("", ""))[1])
                read = read_chart if element.tag == tag("c:chart") else read_diagram
                blocks = read(parse_xml(part)) if part else []
            remove(element)
            for block in blocks:
                place.addnext(block)
                place = block


_OBJECTS = tuple(map(tag, ("w:txbxContent", "c:chart", "dgm:relIds", "o:OLEObject")))


def _paragraph_of(element: Any) -> Any:
    return next(element.iterancestors(tag("w:p")), None)


def _relation_id(element: Any) -> str:
    return element.get(tag("r:id")) or element.get(tag("r:dm")) or ""


def _insert_file(chunk: Any, related: Relations, parts: dict[str, bytes]) -> Iterator[str]:
    """Put an inserted HTML or text file in the place of its reference."""
    name = related.get(_relation_id(chunk), ("", ""))[1]
    blocks: list[Any] = []
    if name.lower().endswith((".html", ".htm", ".xhtml")):
        text = parse_markup(parts.get(name, b"").decode("utf-8", "replace"))["text"]
        blocks = [make_paragraph(block) for block in text.split("\n\n") if block.strip()]
    elif name.lower().endswith(".txt"):
        blocks = [make_paragraph(parts.get(name, b"").decode("utf-8", "replace").strip())]
    if not blocks:
        shown = name.rpartition("/")[2] or "missing"
        yield f"an inserted file ({shown}) is not read: open and save the document in Word"
    for block in blocks:
        chunk.addprevious(block)
    remove(chunk)


def read_diagram(root: Any) -> list[Any]:
    """Return the texts of a SmartArt diagram as paragraphs, in the order of its outline."""
    points = {
        point.get("modelId"): point
        for point in root.iter(tag("dgm:pt"))
        if point.get("type", "node") in ("node", "asst", "doc")
    }
    below: dict[str | None, list[tuple[int, str | None]]] = {}
    for connection in root.iter(tag("dgm:cxn")):
        if connection.get("type", "parOf") == "parOf":
            order = connection.get("srcOrd", "0")
            place = int(order) if order.isdecimal() else 0
            below.setdefault(connection.get("srcId"), []).append((place, connection.get("destId")))
    start = [name for name, point in points.items() if point.get("type") == "doc"]
    ordered: dict[str | None, Any] = {}
    stack: list[str | None] = [*reversed(list(points)), *start]  # what hangs on nothing comes last
    while stack:
        name = stack.pop()
        if name in points and name not in ordered:
            ordered[name] = points[name]
            below.get(name, []).sort(key=lambda item: item[0])
            stack += [target for _, target in reversed(below.get(name, []))]
    texts = ["".join(text.text or "" for text in point.iter(tag("a:t"))) for point in ordered.values()]
    return [make_paragraph(text) for text in texts if text.strip()]


def read_chart(root: Any) -> list[Any]:
    """Return a chart as its title and a table of its values: a row a category, a column a series."""
    title = "".join(text.text or "" for part in root.iter(tag("c:title")) for text in part.iter(tag("a:t")))
    series = list(root.iter(tag("c:ser")))
    heads = [" ".join(_points(child(one, "c:tx")).values()) for one in series]
    columns = [_points(_first(child(one, "c:val"), child(one, "c:yVal"))) for one in series]
    categories: dict[int, str] = {}
    for one in series:
        categories = categories or _points(_first(child(one, "c:cat"), child(one, "c:xVal")))
    rows = [
        [categories.get(index, ""), *(column.get(index, "") for column in columns)]
        for index in sorted({index for column in (categories, *columns) for index in column})
    ]
    blocks = [make_paragraph(title)] if title.strip() else []
    return [*blocks, make_table([["", *heads], *rows])] if rows else blocks


def _first(*elements: Any) -> Any:
    return next((element for element in elements if element is not None), None)


def _points(element: Any) -> dict[int, str]:
    """Return the values that a chart keeps, by their index; of several levels of names, all in one."""
    found: dict[int, list[str]] = {}
    for point in () if element is None else element.iter(tag("c:pt")):
        index = point.get("idx", "")
        text = child(point, "c:v")
        if index.isdecimal() and text is not None:
            found.setdefault(int(index), []).insert(0, text.text or "")
    return {index: " ".join(texts) for index, texts in found.items()}


def make_table(rows: list[list[str]]) -> Any:
    """Make a table of texts, its first row the head."""
    width = max(map(len, rows))
    table = make("tbl", make("tblPr"), make("tblGrid", *(make("gridCol") for _ in range(width))))
    for row in rows:
        table.append(make("tr", *(make("tc", make_paragraph(text)) for text in row)))
    return table
