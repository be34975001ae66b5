"""Join the lines of PDF pages into paragraphs and headings, and these into one text."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterator
from itertools import groupby, pairwise
from typing import NamedTuple

from .layout import median_height
from .lines import Line
from .notes import begins_note, take_notes

_STOP = re.compile(r"[.!?:;。！？：；؟।][\"'”’»)\]」』]*$")
_CODE_FONT = re.compile(r"mono|courier|consol|code|typewriter|CMTT", re.IGNORECASE)
_ELLIPTIC = {"und", "oder", "bzw.", "sowie", "and", "or", "to"}  # "Vor- und Nachteile" keeps its hyphen
_ITEM = re.compile(r"[-–•*▪◦·]|\(?(?:\d{1,3}|[a-z])[.)]\s")  # of a list
_LONGEST_WORD = 200  # characters at the end of the text in which a divided word begins


class _Placed(NamedTuple):
    """A line of the text, with what joins it to the line before."""

    page: int
    line: Line
    before: Line | None
    between: str


def join_pages(pages: list[list[Line]]) -> tuple[str, list[int]]:
    """Return the text of all pages and the offset at which each of them starts."""
    all_lines = [line for lines in pages for line in lines]
    body = median_height(all_lines)
    _find_headings(pages, body)
    sizes = sorted({_size(line, body) for line in all_lines if line.heading}, reverse=True)
    levels = {size: min(level, 4) for level, size in enumerate(sizes, start=1)}
    words = Counter(re.findall(r"\w+(?:-\w+)*", " ".join(line.text.casefold() for line in all_lines)))
    # With few hyphens at line ends, the text is not hyphenated: they belong to the words.
    hyphenated = sum(line.hyphen for line in all_lines) > 0.03 * len(all_lines)
    parts: list[str] = []
    starts, length, tail = [-1] * len(pages), 0, ""
    for page, line, before, between in _place_lines(pages, body):
        if before and before.hyphen:
            between = _resolve_hyphen(tail, line.text, words, hyphenated) if between == " " else "-" + between
        if starts[page] < 0:
            starts[page] = length + len(between)
        begins = not before or "\n" in between
        mark = "#" * levels[_size(line, body)] + " " if line.heading and begins else ""
        parts += [between, mark, line.text]
        length += len(between) + len(mark) + len(line.text)
        tail = (tail + between + mark + line.text)[-_LONGEST_WORD:]
    for index in range(len(starts) - 1, -1, -1):  # an empty page starts where the next one starts
        if starts[index] < 0:
            starts[index] = starts[index + 1] if index + 1 < len(starts) else length
    return "".join(parts), starts


def _place_lines(pages: list[list[Line]], body: float) -> Iterator[_Placed]:
    """Return the lines in the order of the text: footnotes follow the paragraph that they would interrupt."""
    notes = take_notes(pages, body)
    waiting: list[Line] = []
    for placed in _join_lines(pages, body):
        if waiting and "\n" in placed.between:
            yield from _place_notes(placed.page, waiting, placed.before, body)
            placed = placed._replace(before=None, between="\n\n")
            waiting = []
        yield placed
        waiting += notes.get(id(placed.line), [])
    if waiting:
        yield from _place_notes(len(pages) - 1, waiting, placed.line, body)


def _place_notes(page: int, notes: list[Line], before: Line | None, body: float) -> Iterator[_Placed]:
    for placed in _join_lines([notes], body):
        if placed.before is None:
            placed = placed._replace(before=before, between="\n\n")
        elif placed.between == " " and begins_note(placed.line) and _STOP.search(placed.before.text):
            placed = placed._replace(between="\n")
        yield placed._replace(page=page)


def _join_lines(pages: list[list[Line]], body: float) -> Iterator[_Placed]:
    previous: Line | None = None
    paragraph: list[Line] = []  # its lines so far
    for page, lines in enumerate(pages):
        pitch = _median_pitch(lines) or 1.2 * body
        for index, line in enumerate(lines):
            between = _between(lines, index, previous, pitch, body) if previous else ""
            if between == "\n\n" and previous and _breaks_off(paragraph, line):
                between = _glue(previous.text, line.text)
            yield _Placed(page, line, previous, between)
            paragraph = [*paragraph[-3:], line] if "\n" not in between else [line]
            previous = line


def _breaks_off(paragraph: list[Line], line: Line) -> bool:
    """Return whether a paragraph ends in a full line without a stop and goes on in another column or page."""
    last = paragraph[-1]
    moved = last.y < line.y or not last.overlaps(line)
    alike = all(
        getattr(last, name) == getattr(line, name) for name in ("font", "heading", "aside", "angle", "block")
    )
    words = all(len(t) > 30 and sum(map(str.isdigit, t)) < 0.1 * len(t) for t in (last.text, line.text))
    if len(paragraph) < 3 or not (moved and alike and words) or _STOP.search(last.text):
        return False
    if _ITEM.match(line.text):
        return False
    left, right = min(other.x0 for other in paragraph), max(other.x1 for other in paragraph)
    room = last.x0 - left if last.rtl else right - last.x1
    return room < 0.12 * (right - left)


def _find_headings(pages: list[list[Line]], body: float) -> None:
    """Mark the headings: short lines in larger type, in bold, or in an uncommon font above a paragraph."""
    fonts = Counter[str]()
    for line in (line for lines in pages for line in lines):
        fonts[line.font] += len(line.text)
    common = max(fonts, key=lambda font: fonts[font])
    for lines in pages:
        for index, line in enumerate(lines):
            if line.aside or line.block:
                continue
            if len(line.text) >= 120 or line.text.endswith((".", ",")):
                continue
            if sum(char.isalpha() for char in line.text) < 2:
                continue
            line.heading = line.height > 1.12 * body or (
                line.font not in ("", common)
                and not _CODE_FONT.search(line.font)
                and _stands_alone(lines, index, body)
            )
        for line, below in reversed(list(pairwise(lines))):
            if line.heading and not below.heading and _goes_on(line, below, body):
                line.heading = False
        runs = [list(run) for heading, run in groupby(lines, key=lambda line: line.heading) if heading]
        for line in (line for run in runs if len(run) > 3 for line in run):
            line.heading = False  # emphasis, or a page in large type


def _goes_on(line: Line, below: Line, body: float) -> bool:
    """Return whether a sentence goes on below in the same type, so that its first line is no heading."""
    alike = line.font == below.font and abs(line.height - below.height) < 0.12 * body
    near = 0 < line.y - below.y < 2.5 * body
    return alike and near and line.overlaps(below) and below.text[:1].islower()


def _stands_alone(lines: list[Line], index: int, body: float) -> bool:
    """Return whether a line in an uncommon font is a heading: nearer to the line below than to that above."""
    line = lines[index]
    if index + 1 == len(lines):
        return index == 0 or lines[-2].y - line.y > 1.5 * body
    below = lines[index + 1]
    step = line.y - below.y
    if index and 0 < lines[index - 1].y - line.y <= step:
        return False
    heads_below = line.font != below.font and abs(line.x0 - below.x0) < 3 and 0 < step < 2.5 * body
    return line.bold or (heads_below and not below.text[0].islower())


def _size(line: Line, body: float) -> int:
    """Return the size by which a heading is ranked: 0, the last rank, unless larger than body text."""
    return round(line.height) if line.height > 1.12 * body else 0


def _median_pitch(lines: list[Line]) -> float:
    steps = [a.y - b.y for a, b in pairwise(lines) if a.overlaps(b) and 0 < a.y - b.y < 4 * a.height]
    return statistics.median_low(steps) if steps else 0.0


def _between(lines: list[Line], index: int, previous: Line, pitch: float, body: float) -> str:
    """Return what joins a line to the previous one: a blank, nothing, a line end or a paragraph end."""
    line = lines[index]
    if line.block or previous.block:
        return "\n\n"
    glue = _glue(previous.text, line.text)
    if line.aside and previous.aside and previous.overlaps(line):
        return glue if line.text[0].islower() else "\n"
    changed = abs(line.height - previous.height) > 0.12 * body or line.aside != previous.aside
    changed = changed or line.angle != previous.angle
    if changed or previous.heading != line.heading:
        return "\n\n"
    continues = previous.hyphen or (line.text[0].islower() and not _STOP.search(previous.text))
    step = previous.y - line.y
    if index == 0 or step < 0 or not previous.overlaps(line):  # a new page, a new column
        return glue if continues else "\n\n"
    if step > 1.25 * pitch:
        return "\n\n"
    near = [other for other in lines[max(0, index - 4) : index + 3] if other.overlaps(previous)]
    if previous.wide and line.wide:
        return "\n"  # rows of a table
    longest = max(len(other.text) * (1 + _wide(other.text[-1])) for other in near)
    if longest < 36 and not previous.hyphen and not line.column:
        return "\n"  # a list of short items
    if continues or _is_full(lines, index - 1, near):
        return glue
    return "\n\n" if _STOP.search(previous.text) and len(previous.text) > 40 else "\n"


def _is_full(lines: list[Line], index: int, near: list[Line]) -> bool:
    """Return whether the next line's first word would not have fitted on this line."""
    line, following = lines[index], lines[index + 1].text
    word = following[:2] if _wide(following[0]) else following.split()[0]
    per_char = (line.x1 - line.x0) / max(1, len(line.text))
    left, right = min(other.x0 for other in near), max(other.x1 for other in near)
    room = line.x0 - left if line.rtl else right - line.x1
    ragged = 0.0 if _STOP.search(line.text) else 0.12 * (right - left)  # no sentence ends here
    if room <= max((len(word) + 1) * per_char, ragged):
        return True
    above = [other for other in lines[max(0, index - 2) : index] if other.overlaps(line)]
    # The column may widen right below the end of a picture: then compare with the lines above.
    return len(above) == 2 and len(line.text) > 30 and max(other.x1 for other in above) - line.x1 <= 2


def _wide(char: str) -> bool:
    """Return whether the script of a character sets no blanks between words."""
    if unicodedata.east_asian_width(char) in ("W", "F"):
        return not "가" <= char <= "힣"
    return "\u0e00" <= char <= "\u0eff" or "\u1000" <= char <= "\u109f" or "\u1780" <= char <= "\u17ff"


def _glue(before: str, after: str) -> str:
    if before[-1] == "–" and after[0].isdigit():
        return ""
    return "" if _wide(before[-1]) and _wide(after[0]) else " "


def _resolve_hyphen(tail: str, after: str, words: Counter[str], hyphenated: bool) -> str:
    """Return what replaces a hyphen at a line end.

    Nothing if it divided a word, "-" if it belongs to the word, "- " if it stands for an elided part.
    """
    begin, end = re.search(r"[\w-]*$", tail), re.match(r"[\w-]*", after)
    left, right = (begin.group() if begin else ""), (end.group() if end else "")
    if after.split()[0] in _ELLIPTIC:
        return "- "
    if words[f"{left}-{right}".casefold()]:
        return "-"
    if words[f"{left}{right}".casefold()]:
        return ""
    return "" if hyphenated and right[:1].islower() else "-"
