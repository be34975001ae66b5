"""Find the shapes of a slide, what they are there for, and the order to read them in."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ooxml import child, number, tag


class _Box(NamedTuple):
    """A shape and where it stands on the slide, in English Metric Units."""

    shape: Any
    left: int
    top: int
    right: int
    bottom: int


LEAVES = (tag("p:sp"), tag("p:graphicFrame"))  # shapes that hold text
SHAPES = (*LEAVES, tag("p:grpSp"))


def placeholder(shape: Any) -> str | None:
    """Return the type of a placeholder; nothing if the shape is none."""
    found = _placeholder(shape)
    return None if found is None else found.get("type", "obj")


def is_hidden(shape: Any) -> bool:
    """Return whether a shape is there without being shown."""
    names = (child(shape, name, "p:cNvPr") for name in ("p:nvSpPr", "p:nvGraphicFramePr"))
    return any(name is not None and name.get("hidden") in ("1", "true") for name in names)


def _placeholder(shape: Any) -> Any:
    for name in ("p:nvSpPr", "p:nvGraphicFramePr"):
        if (found := child(shape, name, "p:nvPr", "p:ph")) is not None:
            return found
    return None


def reading_order(shapes: list[Any], layouts: list[Any]) -> list[Any]:
    """Return shapes from top to bottom, row by row. layouts: where placeholders without a place have it."""
    shapes_of_layouts = (shape for found in layouts for shape in found.iter(tag("p:sp")))
    layout = {key: shape for shape in shapes_of_layouts for key in _placeholder_keys(shape)}
    return [box.shape for box in _sort([_box(shape, layout) for shape in shapes])]


def _placeholder_keys(shape: Any) -> list[tuple[str, str]]:
    found = _placeholder(shape)
    if found is None:
        return []
    return [(key, found.get(key) or "") for key in ("idx", "type") if found.get(key)]


def _box(shape: Any, layout: dict[tuple[str, str], Any]) -> _Box:
    """Return where a shape stands; a placeholder may leave that to its layout."""
    for source in (shape, *(layout[key] for key in _placeholder_keys(shape) if key in layout)):
        transform = next(source.iter(tag("a:xfrm"), tag("p:xfrm")), None)
        start, size = child(transform, "a:off"), child(transform, "a:ext")
        if start is not None and size is not None:
            left, top = number(start.get("x"), 0), number(start.get("y"), 0)
            return _Box(shape, left, top, left + number(size.get("cx"), 0), top + number(size.get("cy"), 0))
    return _Box(shape, 0, 0, 0, 0)


def _sort(boxes: list[_Box]) -> list[_Box]:
    """Return boxes row by row where a free line parts them, else column by column, else by their corners."""
    for start, end in ((2, 4), (1, 3)):  # top and bottom, left and right
        groups: list[list[_Box]] = []
        reach = 0
        for box in sorted(boxes, key=lambda box: int(box[start])):
            if groups and int(box[start]) < reach:
                groups[-1].append(box)
            else:
                groups.append([box])
            reach = max(reach, int(box[end])) if len(groups[-1]) > 1 else int(box[end])
        if len(groups) > 1:
            return [box for group in groups for box in _sort(group)]
    return sorted(boxes, key=lambda box: (box.top, box.left))
