"""Tell the footnotes of PDF pages from the text that goes on after them."""

from __future__ import annotations

import re

from .lines import Line

_LABEL = re.compile(r"(?:\d{1,3}|[a-z]|[*†‡§¶#]{1,3}|\(\d{1,3}\)|\[\d{1,3}\])[.)]?\s?\S")
_STOP = re.compile(r"[.!?。！？؟।]\W*$")


def take_notes(pages: list[list[Line]], body: float) -> dict[int, list[Line]]:
    """Remove, in place, the footnotes at the foot of each page or column.

    Returns them by the id of the line that they follow, so that they can be put after its paragraph.
    """
    notes: dict[int, list[Line]] = {}
    unfinished = False  # a note goes on at the foot of the next page
    for lines in pages:
        kept: list[Line] = []
        index = 0
        while index < len(lines):
            end = _end_of_notes(lines, index, body, unfinished=unfinished) if kept else index
            if end > index:
                notes[id(kept[-1])] = lines[index:end]
                unfinished = not _STOP.search(lines[end - 1].text)
                index = end
            else:
                kept.append(lines[index])
                index += 1
        lines[:] = kept
    return notes


def begins_note(line: Line) -> bool:
    """Return whether a line begins with the number or sign of a footnote."""
    return line.labelled or _LABEL.match(line.text) is not None


def _end_of_notes(lines: list[Line], start: int, body: float, *, unfinished: bool) -> int:
    """Return the index after the footnotes that begin at a line; `start` if there are none."""
    first, before = lines[start], lines[start - 1]
    small = first.height < 0.93 * body and before.height > 1.05 * first.height
    labelled = first.labelled or (small and _LABEL.match(first.text))
    if not labelled and not (small and unfinished):
        return start
    if first.aside or before.aside or first.y >= before.y or first.level > 0.5 or first.angle != before.angle:
        return start
    end = start + 1
    while end < len(lines) and _goes_on(lines[end - 1], lines[end]):
        end += 1
    at_foot = end == len(lines) or lines[end].y > first.y or lines[end].angle != first.angle
    return end if at_foot else start


def _goes_on(line: Line, below: Line) -> bool:
    same = abs(below.height - line.height) < 0.06 * line.height and below.angle == line.angle
    return same and 0 <= line.y - below.y < 3 * line.height and not below.heading
