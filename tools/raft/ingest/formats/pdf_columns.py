"""Find the columns of running text on a PDF page by the gaps between them, not by the order of painting."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .pdf_lines import Line

_MAX_ROWS = 400  # of a page; one with more is no running text
_MIN_ROWS = 3  # of a column
_MIN_LENGTH = 12  # of a line, in characters
_MIN_GUTTER = 0.75  # of the height of body text
_MAX_CANDIDATES = 20
_BIN = 2.0  # points


@dataclass
class _Row:
    """The pieces at one height of a page; `bins` has a bit for every 2 points that they cover."""

    pieces: list[Line]
    bins: int

    def side(self, gutter: float, *, right: bool) -> list[Line]:
        return [piece for piece in self.pieces if (piece.x0 > gutter) == right]


@dataclass
class _Region:
    """Rows from `first` until before `end`, with columns on both sides of a gutter."""

    first: int
    end: int
    gutter: float


def split_columns(pieces: list[Line], body: float) -> list[list[Line]]:
    """Return the pieces in groups that are read one after the other, each in the order of painting.

    Text that spans the page above, between and below the columns is a group of its own. Tables, lists with
    amounts and boxes beside the text are no columns. Sets `column` of the pieces: no line goes from one to
    another.
    """
    groups = _split(pieces, body) if len(pieces) > 2 * _MIN_ROWS else [pieces]
    if len(groups) > 1 or any(piece.column for piece in pieces):
        for number, group in enumerate(groups, start=1):
            for piece in group:
                piece.column += number
    return groups


def _split(pieces: list[Line], body: float) -> list[list[Line]]:
    rows = _find_rows(pieces, body)
    groups: list[list[Line]] = []
    start = 0
    for region in _find_regions(rows, body):
        groups += [_painted(rows[start : region.first]), *_read_region(rows, region, body)]
        start = region.end
    groups.append(_painted(rows[start:]))
    return [group for group in groups if group]


def _find_rows(pieces: list[Line], body: float) -> list[_Row]:
    """Return the rows of a page from the head to the foot."""
    rows: list[list[Line]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.middle):
        if rows and rows[-1][0].middle - piece.middle < 0.4 * body:
            rows[-1].append(piece)
        else:
            rows.append([piece])
    left = min(piece.x0 for piece in pieces)
    return [_Row(sorted(row, key=lambda piece: piece.x0), _bins(row, left)) for row in rows]


def _bins(pieces: list[Line], left: float) -> int:
    bins = 0
    for piece in pieces:
        first, last = (min(int((x - left) / _BIN), 5000) for x in (piece.x0, piece.x1))
        bins |= (1 << last + 1) - (1 << first)
    return bins


def _painted(rows: list[_Row]) -> list[Line]:
    return sorted((piece for row in rows for piece in row.pieces), key=lambda piece: piece.order)


def _find_regions(rows: list[_Row], body: float) -> list[_Region]:
    """Return the regions with columns from the head to the foot; the longest ones are tried first."""
    if not _MIN_ROWS <= len(rows) <= _MAX_ROWS:
        return []
    found: list[_Region] = []
    candidates = sorted(_find_gutters(rows, body), key=lambda region: region.first - region.end)
    for region in candidates[:_MAX_CANDIDATES]:
        apart = all(region.end <= other.first or other.end <= region.first for other in found)
        if apart and all(_is_prose(rows, region, right=right) for right in (False, True)):
            found.append(region)
    return sorted(found, key=lambda region: region.first)


def _find_gutters(rows: list[_Row], body: float) -> Iterator[_Region]:
    """Return every gap of the width of a gutter with as many rows as it has, and text on both its sides."""
    left = min(piece.x0 for row in rows for piece in row.pieces)
    width = max(2, int(_MIN_GUTTER * body / _BIN))
    page = max(row.bins for row in rows)
    page = (1 << page.bit_length()) - 1
    above = 0
    for first, row in enumerate(rows):
        open_gaps = [gap for gap in _gaps(page & ~row.bins, width) if above & gap[2] or not first]
        free = page
        for end in range(first, len(rows) + 1):
            free = free & ~rows[end].bins if end < len(rows) else 0
            still_open = []
            for gap in open_gaps:
                unchanged = free & gap[2] == gap[2]
                narrowed = [gap] if unchanged else _gaps(free & gap[2], width)
                still_open += narrowed[:1]
                if not narrowed and end - first >= _MIN_ROWS:
                    yield _Region(first, end, left + _BIN * (gap[0] + gap[1] + 1) / 2)
            open_gaps = still_open
            if not open_gaps:
                break
        above = row.bins


def _gaps(free: int, width: int) -> list[tuple[int, int, int]]:
    """Return the runs of at least `width` bits: the first bit, the last bit, and the bits."""
    gaps = []
    position = 0
    while free:
        skip = (free & -free).bit_length() - 1
        free >>= skip
        position += skip
        run = (~free & (free + 1)).bit_length() - 1
        if run >= width:
            gaps.append((position, position + run - 1, ((1 << run) - 1) << position))
        free >>= run
        position += run
    return gaps


def _is_prose(rows: list[_Row], region: _Region, *, right: bool) -> bool:
    """Return whether one side of a gutter is running text: full lines of words that go on below."""
    sides = [row.side(region.gutter, right=right) for row in rows[region.first : region.end]]
    sides = [side for side in sides if side]
    if len(sides) < _MIN_ROWS or statistics.median(map(_count, sides)) < _MIN_LENGTH:
        return False
    lines = [(" ".join(piece.text for piece in side), side[0].x0, side[-1].x1) for side in sides]
    text = " ".join(line for line, _, _ in lines)
    width = max(x1 for _, _, x1 in lines) - min(x0 for _, x0, _ in lines)
    full = sum(x1 - x0 >= 0.7 * width for _, x0, x1 in lines)
    digits = sum(map(str.isdigit, text))
    if full < 0.55 * len(lines) or digits > 0.2 * len(text):
        return False
    if re.search(r"\.{4}|(?:\. ){4}|_{6}", text):  # contents, forms
        return False
    begins = [letter for letter in (next(filter(str.isalpha, line), "") for line, _, _ in lines) if letter]
    cased = [letter for letter in begins if letter.lower() != letter.upper()]
    if len(cased) < 0.5 * len(lines):
        return full >= 0.6 * len(lines)
    return sum(map(str.islower, cased)) >= 0.2 * len(lines)


def _read_region(rows: list[_Row], region: _Region, body: float) -> list[list[Line]]:
    """Return the columns of a region, or of each block of it if it is a table with text in its cells."""
    groups: list[list[Line]] = []
    for block in _split_cells(rows[region.first : region.end], region.gutter):
        sides = [
            [piece for row in block for piece in row.side(region.gutter, right=right)]
            for right in (False, True)
        ]
        sides = [sorted(side, key=lambda piece: piece.order) for side in sides if side]
        if len(sides) == 2 and _is_box(*sides):
            groups.append(_painted(block))
            for piece in min(sides, key=_count):
                piece.column = -1
            continue
        letters = sum(len(piece.text) for side in sides for piece in side)
        if 2 * sum(len(piece.text) for side in sides for piece in side if piece.rtl) > letters:
            sides.reverse()
        groups += [group for side in sides for group in _split(side, body)]
    return groups


def _count(side: list[Line]) -> int:
    return sum(len(piece.text) for piece in side)


def _is_box(left: list[Line], right: list[Line]) -> bool:
    """Return whether one side is a box or a note beside the running text of the other."""
    small, large = sorted((left, right), key=_count)
    widths = [max(piece.x1 for piece in side) - min(piece.x0 for piece in side) for side in (small, large)]
    return widths[0] < 0.5 * widths[1] and _count(small) < 0.3 * _count(large)


def _split_cells(rows: list[_Row], gutter: float) -> list[list[_Row]]:
    """Split rows at the gaps that go across both columns, if it is a table: a new text begins below each."""
    steps = [above.pieces[0].middle - row.pieces[0].middle for above, row in pairwise(rows)]
    pitch = statistics.median_low(steps)
    blocks = [[rows[0]]]
    for step, row in zip(steps, rows[1:], strict=True):
        if step > 1.4 * pitch:
            blocks.append([])
        blocks[-1].append(row)
    firsts = [[block[0].side(gutter, right=right) for right in (False, True)] for block in blocks]
    table = len(blocks) > 2 and all(
        left and right and not left[0].text[0].islower() and not right[0].text[0].islower()
        for left, right in firsts
    )
    return blocks if table else [rows]
