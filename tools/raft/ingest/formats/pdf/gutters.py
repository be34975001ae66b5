"""Find the gaps that run down a PDF page between pieces of text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from .lines import Line, group_rows

_MAX_ROWS = 400  # of a page; one with more is no running text
_MIN_ROWS = 3  # beside a gutter
_MIN_GUTTER = 0.75  # of the height of body text
_BIN = 2.0  # points


@dataclass
class Row:
    """The pieces at one height of a page; `bins` has a bit for every 2 points that they cover."""

    pieces: list[Line]
    bins: int

    def between(self, left: float, right: float) -> list[Line]:
        """Return the pieces that begin between two positions."""
        return [piece for piece in self.pieces if left < piece.x0 <= right]


@dataclass
class Region:
    """Rows from `first` until before `end` with a gutter, and the next gutters to its left and right."""

    first: int
    end: int
    gutter: float
    left: float
    right: float


def find_rows(pieces: list[Line], body: float) -> list[Row]:
    """Return the rows of a page from the head to the foot."""
    rows = group_rows(pieces, lambda first, piece: 0.4 * body)
    left = min(piece.x0 for piece in pieces)
    return [Row(sorted(row, key=lambda piece: piece.x0), _bins(row, left)) for row in rows]


def _bins(pieces: list[Line], left: float) -> int:
    bins = 0
    for piece in pieces:
        first, last = (min(int((x - left) / _BIN), 5000) for x in (piece.x0, piece.x1))
        bins |= (1 << last + 1) - (1 << first)
    return bins


def find_gutters(rows: list[Row], body: float) -> Iterator[Region]:
    """Return every gap of the width of a gutter with as many rows as it has, and text on both its sides."""
    if not _MIN_ROWS <= len(rows) <= _MAX_ROWS:
        return
    left = min(piece.x0 for row in rows for piece in row.pieces)
    width = max(2, int(_MIN_GUTTER * body / _BIN))
    page = max(row.bins for row in rows)
    page = (1 << page.bit_length()) - 1
    above = 0
    for first, row in enumerate(rows):
        open_gaps = [gap for gap in _gaps(page & ~row.bins, width) if above & gap[2] or not first]
        free = page
        for end in range(first, len(rows) + 1):
            before = free
            free = free & ~rows[end].bins if end < len(rows) else 0
            still_open = []
            for gap in open_gaps:
                unchanged = free & gap[2] == gap[2]
                narrowed = [gap] if unchanged else _gaps(free & gap[2], width)
                still_open += narrowed[:1]
                if not narrowed and end - first >= _MIN_ROWS:
                    gutters = [left + _BIN * (low + high + 1) / 2 for low, high, _ in _gaps(before, width)]
                    gutter = left + _BIN * (gap[0] + gap[1] + 1) / 2
                    yield Region(
                        first,
                        end,
                        gutter,
                        max((other for other in gutters if other < gutter), default=-math.inf),
                        min((other for other in gutters if other > gutter), default=math.inf),
                    )
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
