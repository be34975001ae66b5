"""Find the columns of running text on a PDF page by the gaps between them, not by the order of painting."""

from __future__ import annotations

import math
import re
import statistics
from functools import cached_property
from itertools import pairwise

from .gutters import Region, Row, find_gutters, find_rows
from .lines import Line

_DIGIT = re.compile(r"\d")
_DOTTED = re.compile(r"\.{4}|(?:\. ){4}|_{6}")
_MIN_LENGTH = 12  # of a line, in characters
_MAX_CANDIDATES = 60
_MAX_COLUMNS = 12
_MAX_EDGE = 3  # rows of a running head or foot
_BOX = 0.4  # of the width of the text: what is narrower may be a box beside it


def split_columns(pieces: list[Line], body: float) -> list[list[Line]]:
    """Return the pieces in groups that are read one after the other, each in the order of painting.

    Text that spans the page above, between and below the columns is a group of its own. Tables, lists with
    amounts and boxes beside the text are no columns. Sets `column` of the pieces: no line goes from one to
    another.
    """
    groups = _split(pieces, body) if len(pieces) > 5 else [pieces]
    if len(groups) > 1 or any(piece.column for piece in pieces):
        for number, group in enumerate(groups, start=1):
            for piece in group:
                piece.column += number
    return groups


def _split(pieces: list[Line], body: float, depth: int = 0) -> list[list[Line]]:
    if depth > _MAX_COLUMNS:
        return [pieces]
    rows = find_rows(pieces, body)
    groups: list[list[Line]] = []
    start = 0
    for region in _find_regions(rows, body):
        if box := _find_box(rows, region):
            for piece in box:
                piece.column = -1
        else:
            groups += [_painted(rows[start : region.first]), *_read_region(rows, region, body, depth)]
            start = region.end
    groups.append(_painted(rows[start:]))
    return [group for group in groups if group]


def _painted(rows: list[Row]) -> list[Line]:
    return sorted((piece for row in rows for piece in row.pieces), key=lambda piece: piece.order)


def _find_regions(rows: list[Row], body: float) -> list[Region]:
    """Return the regions with columns from the head to the foot; the longest ones are tried first."""
    found: list[Region] = []
    candidates = sorted(find_gutters(rows, body), key=lambda region: region.first - region.end)
    for region in candidates[:_MAX_CANDIDATES]:
        _trim(rows, region, body)
        apart = all(region.end <= other.first or other.end <= region.first for other in found)
        if apart and _are_columns(rows, region):
            found.append(region)
    return sorted(found, key=lambda region: region.first)


def _trim(rows: list[Row], region: Region, body: float) -> None:
    """Take heads and feet from a region, in place: few rows that are far from the rest."""
    steps = [
        above.pieces[0].middle - row.pieces[0].middle
        for above, row in pairwise(rows[region.first : region.end])
    ]
    far = [index for index, step in enumerate(steps, start=1) if step > 2 * body]
    region.first, region.end = (
        region.first + max((index for index in far if index <= _MAX_EDGE), default=0),
        region.first
        + min((index for index in far if index > len(steps) - _MAX_EDGE), default=len(steps) + 1),
    )


class _Side:
    """The lines on one side of a gutter, each a list of pieces; shares are from 0 to 1."""

    def __init__(self, lines: list[list[Line]]) -> None:
        self.lines = lines
        self.length = statistics.median(map(_count, lines)) if lines else 0.0  # of a line, in characters

    @classmethod
    def of(cls, rows: list[Row], left: float, right: float) -> _Side:
        """Return the lines between two positions."""
        return cls([line for row in rows if (line := row.between(left, right))])

    @cached_property
    def width(self) -> float:
        """Return the width of all lines together."""
        return max(line[-1].x1 for line in self.lines) - min(line[0].x0 for line in self.lines)

    @cached_property
    def full(self) -> float:
        """Return the share of the lines that are about as wide as all together."""
        return sum(line[-1].x1 - line[0].x0 >= 0.7 * self.width for line in self.lines) / len(self.lines)

    @cached_property
    def begins(self) -> list[str]:
        """Return the first letters of the lines, without those of scripts that have no small letters."""
        letters = (next(filter(str.isalpha, line[0].text), "") for line in self.lines)
        return [letter for letter in letters if letter.lower() != letter.upper()]

    @cached_property
    def lower(self) -> float:
        """Return the share of small letters among the first ones."""
        return sum(map(str.islower, self.begins)) / max(1, len(self.begins))

    @cached_property
    def digits(self) -> float:
        """Return the share of digits."""
        pieces = [piece for line in self.lines for piece in line]
        return sum(len(_DIGIT.findall(piece.text)) for piece in pieces) / max(1, _count(pieces))

    @cached_property
    def is_dotted(self) -> bool:
        """Return whether dots or rules lead to something: contents, forms."""
        return any(_DOTTED.search(piece.text) for line in self.lines for piece in line)

    @cached_property
    def is_contiguous(self) -> bool:
        """Return whether no line is far from the next one."""
        steps = (above[0].middle - below[0].middle for above, below in pairwise(self.lines))
        return all(step < 2.5 * self.lines[0][0].height for step in steps)

    @cached_property
    def is_prose(self) -> bool:
        """Return whether it is running text: full lines of words that go on in the next line."""
        if len(self.lines) < 3 or self.length < _MIN_LENGTH or self.full < 0.55:
            return False
        cased = len(self.begins) >= 0.5 * len(self.lines)
        goes_on = self.lower >= 0.2 if cased else self.full >= 0.6
        return goes_on and self.digits <= 0.2 and not self.is_dotted


def _are_columns(rows: list[Row], region: Region) -> bool:
    """Return whether there is running text on both sides of a gutter, or a box beside running text."""
    rows = rows[region.first : region.end]
    left, right = _Side.of(rows, -math.inf, region.gutter), _Side.of(rows, region.gutter, math.inf)
    if min(left.length, right.length) < _MIN_LENGTH / 2:
        return False
    # The next column may tell more than all those on one side, whose lines are at different heights.
    left_prose = left.is_prose or _Side.of(rows, region.left, region.gutter).is_prose
    right_prose = right.is_prose or _Side.of(rows, region.gutter, region.right).is_prose
    if left_prose and right_prose:
        return True
    if not (left.is_prose or right.is_prose):
        return False
    prose, other = (left, right) if left.is_prose else (right, left)
    lines = len(other.lines)
    begun = lines == 2 and other.lower >= 0.5 and 0.75 < other.width / prose.width < 1.3
    certain = len(prose.lines) > 4 and prose.lower >= 0.5 and prose.full >= 0.75
    box = other.is_contiguous and other.digits < 0.3 and 1 < lines <= 0.7 * len(prose.lines)
    return certain and (begun or (box and other.width < 0.6 * prose.width))


def _read_region(rows: list[Row], region: Region, body: float, depth: int) -> list[list[Line]]:
    """Return the columns of a region, or of each block of it if it is a table with text in its cells."""
    groups: list[list[Line]] = []
    for block in _split_cells(rows[region.first : region.end], region.gutter):
        sides = [
            [piece for row in block for piece in row.between(*limits)]
            for limits in ((-math.inf, region.gutter), (region.gutter, math.inf))
        ]
        sides = [sorted(side, key=lambda piece: piece.order) for side in sides if side]
        letters = sum(len(piece.text) for side in sides for piece in side)
        if 2 * sum(len(piece.text) for side in sides for piece in side if piece.rtl) > letters:
            sides.reverse()
        groups += [group for side in sides for group in _split(side, body, depth + 1)]
    return groups


def _count(side: list[Line]) -> int:
    return sum(len(piece.text) for piece in side)


def _find_box(rows: list[Row], region: Region) -> list[Line]:
    """Return the pieces on one side of a gutter if they are a box or a note beside the running text."""
    left, right = (
        [piece for row in rows[region.first : region.end] for piece in row.between(*limits)]
        for limits in ((-math.inf, region.gutter), (region.gutter, math.inf))
    )
    small, large = sorted((left, right), key=_count)
    width = max(piece.x1 for piece in left + right) - min(piece.x0 for piece in left + right)
    box = max(piece.x1 for piece in small) - min(piece.x0 for piece in small)
    return small if box < _BOX * width and _count(small) < 0.3 * _count(large) else []


def _split_cells(rows: list[Row], gutter: float) -> list[list[Row]]:
    """Split rows at the gaps that go across both columns, if it is a table: a new text begins below each."""
    steps = [above.pieces[0].middle - row.pieces[0].middle for above, row in pairwise(rows)]
    pitch = statistics.median_low(steps)
    blocks = [[rows[0]]]
    for step, row in zip(steps, rows[1:], strict=True):
        if step > 1.4 * pitch:
            blocks.append([])
        blocks[-1].append(row)
    firsts = [(b[0].between(-math.inf, gutter), b[0].between(gutter, math.inf)) for b in blocks]
    table = len(blocks) > 2 and all(
        left and right and not left[0].text[0].islower() and not right[0].text[0].islower()
        for left, right in firsts
    )
    return blocks if table else [rows]
