"""Put the lines of a PDF page into reading order, by position rather than by the order of painting."""

from __future__ import annotations

import statistics
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

from .columns import split_columns
from .initials import attach_initials
from .lines import Line, join_pieces
from .margins import drop_line_numbers, split_by_direction
from .objects import turned
from .pieces import extract_pieces

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

    from .content import PageContent


def page_lines(page: PdfPage, content: PageContent, left_out: Counter[str]) -> tuple[list[Line], int]:
    """Return the visual lines of a page in reading order, and the number of letters and digits on the page.

    Line numbers, turned text in the margin and reference marks are left out, and counted in `left_out`.
    Raises PdfiumError if the page cannot be parsed.
    """
    pieces, seen = extract_pieces(page, content.clean_text)
    rotation = page.get_rotation()
    lines: list[Line] = []
    for group in split_by_direction(pieces, rotation, left_out):
        group = content.place_fields_and_ruled_tables(drop_line_numbers(group, left_out), rotation)
        body = median_height(group)
        group = attach_initials(group, body)
        columns = [
            join_pieces(content.place_aligned_tables(column), left_out)
            for column in split_columns(group, body)
        ]
        ordered = [line for column in columns for line in _in_reading_order(column)]
        _set_levels(ordered, page, rotation)
        lines += ordered
    return lines, seen


def median_height(lines: list[Line]) -> float:
    """Compute the height of the body text: the median of the lines but tables, weighted by their length."""
    lines = [line for line in lines if not line.block] or lines
    return statistics.median(line.height for line in lines for _ in range(1 + len(line.text) // 8))


def _set_levels(lines: list[Line], page: PdfPage, rotation: int) -> None:
    box = page.get_bbox()
    for line in lines:
        _, bottom, _, top = turned(box, line.angle + rotation)
        line.level = (line.middle - bottom) / max(1.0, top - bottom)


def _in_reading_order(lines: list[Line]) -> list[Line]:
    """Sort lines into reading order: the order of painting, which is mostly right, with two corrections.

    Captions and boxes beside the text move to the end of a paragraph, so that they do not interrupt a
    sentence; lines painted late (often headings) move before the lines below them.
    """
    if not lines:
        return lines
    body = median_height(lines)
    _find_asides(lines, body)
    flow: list[Line] = []
    for line in lines:
        if line.aside:
            continue
        position = len(flow)
        if flow and line.y > flow[-1].y:
            below = (index for index, other in enumerate(flow) if other.y < line.y and other.overlaps(line))
            position = next(below, position)
        flow.insert(position, line)
    return _place_asides([line for line in lines if line.aside], flow, body)


def _find_asides(lines: list[Line], body: float) -> None:
    """Mark the lines of boxes and captions, in place: narrow, not in larger type, beside wide lines."""
    width = max(line.x1 for line in lines) - min(line.x0 for line in lines)
    wide = [line for line in lines if line.x1 - line.x0 >= 0.4 * width]
    narrow = [line for line in lines if line.x1 - line.x0 < 0.4 * width]
    for line in narrow:
        line.aside = line.height < 1.1 * body and any(line.beside(other) for other in wide)
    # A line of a box belongs to it even if there is no line beside it.
    for before, after in (*pairwise(narrow), *pairwise(reversed(narrow))):
        if before.aside and before.overlaps(after) and abs(before.y - after.y) < 2.5 * body:
            after.aside = True
    if sum(len(line.text) for line in narrow if line.aside) > 0.3 * sum(len(line.text) for line in lines):
        for line in narrow:
            line.aside = False  # columns, not a box


def _place_asides(asides: list[Line], flow: list[Line], body: float) -> list[Line]:
    """Insert each box after the paragraph beside it, or before it if that continues on the next page."""
    groups: list[list[Line]] = []
    for line in asides:
        if groups and groups[-1][-1].overlaps(line) and 0 < groups[-1][-1].y - line.y < 2.5 * body:
            groups[-1].append(line)
        else:
            groups.append([line])
    for group in groups:
        ends = [
            index
            for index in range(1, len(flow))
            if flow[index - 1].height < 1.1 * body
            and not flow[index].aside
            and (flow[index - 1].y - flow[index].y > 1.6 * body or flow[index].height >= 1.12 * body)
        ]
        complete = not flow or flow[-1].text.endswith((".", "!", "?", ":", "。"))
        last = len(flow) if complete or not ends else ends[-1]
        position = next((index for index in ends if flow[index].y < group[0].y), last)
        flow[position:position] = group
    return flow
