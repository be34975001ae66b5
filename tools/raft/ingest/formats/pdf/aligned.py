"""Find tables without ruling lines: rows of short texts with gaps between them, one below the other."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections import Counter
from functools import cached_property
from itertools import pairwise

from .lines import Line, group_rows
from .tables import Table, is_number, join_cell

_MIN_GAP = 0.7  # of the height of a line, between cells
_MAX_STEP = 3.0  # of the height of a line, between rows
_LONG = 20  # characters of a line of running text
_MARKER = re.compile(r"\W|\(?\w{1,3}[.):]|\(\w{1,4}\)|\[[^\[\]]{1,12}\]")
_CODE = re.compile(r"[;{}]$|^[<#]\w|[=<>]{2}|/>|\w\(\)|^[=+]$")
_LEADER = re.compile(r"\.{4}|(?:\. ){4}|…{2}")

Interval = tuple[float, float]


class _Cell:
    """The pieces of a row that no gap divides."""

    def __init__(self, pieces: list[Line]) -> None:
        self.pieces = pieces
        self.x0 = min(piece.x0 for piece in pieces)
        self.x1 = max(piece.x1 for piece in pieces)

    @cached_property
    def text(self) -> str:
        return " ".join(piece.text for piece in self.pieces)

    @property
    def length(self) -> int:
        """Return the number of characters, of which those of East Asia count twice."""
        if self.text.isascii():
            return len(self.text)
        return sum(1 + (unicodedata.east_asian_width(char) in "WF") for char in self.text)


_Row = list[_Cell]


def find_aligned_tables(pieces: list[Line]) -> list[Table]:
    """Return the tables of at least two columns and three rows, or two rows of three columns."""
    rows = _find_rows(pieces)
    tables = []
    start = 0
    while start < len(rows):
        if (end := _end_of_contents(rows, start)) > start + 1:
            tables.append(_build_contents(rows[start:end]))
            start = end
            continue
        end, columns = _grow(rows, start) if len(rows[start]) > 1 else (start + 1, [])
        region = rows[start:end]
        if len(columns) > 1 and _is_table(region, columns):
            tables.append(_build_table(region, columns))
            start = end
        else:
            start += 1
    return tables


def _end_of_contents(rows: list[_Row], start: int) -> int:
    """Return the end of the rows with dots between a title and its page."""
    end = start
    while end < len(rows) and any(_LEADER.search(cell.text) for cell in rows[end]):
        end += 1
    return end


def _build_contents(rows: list[_Row]) -> Table:
    left_out = Counter[str]()
    texts = [[join_cell(cell.pieces, left_out) for cell in row] for row in rows]
    pieces = [piece for row in rows for cell in row for piece in cell.pieces]
    return Table(texts, pieces, [], left_out, contents=True)


def _find_rows(pieces: list[Line]) -> list[_Row]:
    """Return the rows of a page from the head to the foot, each from left to right."""
    rows = []
    for level in group_rows(pieces, lambda first, piece: 0.4 * max(first.height, piece.height)):
        row: list[list[Line]] = []
        right = 0.0
        for piece in sorted(level, key=lambda piece: piece.x0):
            if row and piece.x0 - right <= _MIN_GAP * max(piece.height, row[-1][0].height):
                row[-1].append(piece)
            else:
                row.append([piece])
            right = max(right, piece.x1) if len(row[-1]) > 1 else piece.x1
        rows.append([_Cell(cell) for cell in row])
    return rows


def _grow(rows: list[_Row], start: int) -> tuple[int, list[Interval]]:
    """Return the end of the rows whose cells stand below those of the first one, and their columns."""
    columns = [(cell.x0, cell.x1) for cell in rows[start]]
    end, last = start + 1, start
    widest = columns
    while end < len(rows) and _step(rows, end) <= _MAX_STEP * _height(rows[start]):
        if _height(rows[end]) > 1.15 * _height(rows[start]):
            break  # a heading
        added = _add_row(columns, rows[end])
        if added is None:
            break
        columns = added
        # A single cell belongs to the table if it goes on the cell above, or if a row follows.
        if len(rows[end]) > 1 or (
            _step(rows, end) < 1.4 * _height(rows[end]) and rows[end][0].x0 > columns[0][1]
        ):
            last, widest = end, columns
        end += 1
    return last + 1, widest


def _add_row(columns: list[Interval], row: _Row) -> list[Interval] | None:
    """Return the columns with those of a row; nothing if they do not fit together."""
    columns = list(columns)
    for cell in row:
        over = [index for index, (x0, x1) in enumerate(columns) if x0 < cell.x1 and cell.x0 < x1]
        if len(over) > 1:
            return None
        if over:
            x0, x1 = columns[over[0]]
            columns[over[0]] = min(x0, cell.x0), max(x1, cell.x1)
        else:
            columns.append((cell.x0, cell.x1))
    columns.sort()
    if any(after[0] < before[1] for before, after in pairwise(columns)):
        return None
    places = [_column_of(cell, columns) for cell in row]
    return columns if len(set(places)) == len(places) else None


def _column_of(cell: _Cell, columns: list[Interval]) -> int:
    return next(index for index, (x0, x1) in enumerate(columns) if x0 <= cell.x0 and cell.x1 <= x1)


def _step(rows: list[_Row], index: int) -> float:
    return rows[index - 1][0].pieces[0].y - rows[index][0].pieces[0].y


def _height(row: _Row) -> float:
    return max(piece.height for cell in row for piece in cell.pieces)


def _is_table(rows: list[_Row], columns: list[Interval]) -> bool:
    full = [row for row in rows if len(row) > 1]
    if len(full) < (3 if len(columns) == 2 else 2):
        return False
    if len(full) == 2 and min(map(len, full)) < 3:
        return False
    if sum(map(len, rows)) < 0.5 * len(full) * len(columns):
        return False
    if sum(map(_is_painted_as_row, full)) < 0.8 * len(full):
        return False  # columns of text
    cells: list[list[_Cell]] = [[] for _ in columns]
    for cell in (cell for row in rows for cell in row):
        cells[_column_of(cell, columns)].append(cell)
    if sum(bool(_CODE.search(cell.text)) for column in cells for cell in column) > 0.2 * sum(map(len, cells)):
        return False  # a program
    tight = min(after[0] - before[1] for before, after in pairwise(columns)) < _height(full[0])
    if tight and len(full) < 4:
        return False
    if not all(map(_is_aligned, cells)):
        return False
    if sum(map(_is_broken, cells)) > 1:
        return False
    prose = [_is_prose(column) for column in cells]
    if len(columns) == 2:
        if all(_MARKER.fullmatch(cell.text) for cell in cells[0]):
            return False  # a list
        if any(prose):
            return prose == [True, False] and all(is_number(cell.text) for cell in cells[1][1:])
    return sum(prose) < 2


def _is_painted_as_row(row: _Row) -> bool:
    orders = [piece.order for cell in row for piece in cell.pieces]
    return max(orders) - min(orders) < 2 * len(orders)


def _is_aligned(cells: list[_Cell]) -> bool:
    """Return whether most cells of a column begin, end or have their middle at one place."""
    for sides in zip(*((cell.x0, cell.x1, (cell.x0 + cell.x1) / 2) for cell in cells), strict=True):
        common = statistics.median_low(sides)
        if sum(abs(side - common) < 3 for side in sides) >= 0.5 * len(sides):
            return True
    return False


def _is_prose(cells: list[_Cell]) -> bool:
    """Return whether a column is running text: long lines of several words, many of them full."""
    width = max(cell.x1 for cell in cells) - min(cell.x0 for cell in cells)
    full = sum(cell.x1 - cell.x0 > 0.7 * width for cell in cells)
    words = statistics.mean(len(cell.text.split()) for cell in cells)
    long = statistics.mean(cell.length for cell in cells) > _LONG and (
        words > 3.5 or not cells[0].text.isascii()
    )
    return long and full >= 0.4 * len(cells)


def _is_broken(cells: list[_Cell]) -> bool:
    """Return whether the lines of a column go on in the next one, as those of running text do."""
    lower = sum(cell.text[0].islower() for cell in cells)
    return statistics.mean(cell.length for cell in cells) > 14 and lower >= 0.3 * len(cells)


def _build_table(rows: list[_Row], columns: list[Interval]) -> Table:
    pitch = statistics.median(
        [_step(rows, index) for index in range(1, len(rows)) if _column_of(rows[index][0], columns) == 0]
        or [0]
    )
    grid: list[list[list[Line]]] = []
    for index, row in enumerate(rows):
        step = _step(rows, index) if index else 0
        first = _column_of(row[0], columns)
        alone = len(row) == 1 and len(columns) > 2
        goes_on = index > 0 and first > 0 and (step < 0.8 * pitch or (alone and step < 1.4 * _height(row)))
        if not goes_on:
            grid.append([[] for _ in columns])
        for cell in row:
            grid[-1][_column_of(cell, columns)] += cell.pieces
    pieces = [piece for row in rows for cell in row for piece in cell.pieces]
    left_out = Counter[str]()
    texts = [[join_cell(cell, left_out) for cell in row] for row in grid]
    edges = [x0 for x0, _ in columns] + [columns[-1][1]]
    return Table(texts, pieces, edges, left_out)
