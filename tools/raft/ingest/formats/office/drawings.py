"""Read the diagrams and charts that Office files keep in parts of their own."""

from __future__ import annotations

from typing import Any

from .ooxml import child, tag, text_of


def unread_object(kind: str = "") -> str:
    """Return the note on an embedded object, of a kind such as "Visio.Drawing.15" if that is known."""
    named = f" ({kind})" if kind else ""
    return f"an embedded object{named} is not read: save it as a file of its own"


def read_diagram(root: Any) -> list[str]:
    """Return the texts of a SmartArt diagram in the order of its outline."""
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
    texts = [text_of(point, tag("a:t")) for point in ordered.values()]
    return [text for text in texts if text.strip()]


def read_chart(root: Any) -> tuple[str, list[list[str]]]:
    """Return the title of a chart and a table of its values: a row a category, a column a series."""
    title = "".join(text_of(part, tag("a:t")) for part in root.iter(tag("c:title")))
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
    return title.strip(), [["", *heads], *rows] if rows else []


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
