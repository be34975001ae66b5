"""Find tables by their ruling lines: a cell is what lines enclose, however many rows it covers."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise

from ..write_table import MAX_REPEATED
from .aligned import find_aligned_tables
from .lines import Line
from .objects import Rect
from .tables import Table, is_number, join_cell

_NEAR = 3.0  # points between lines that are taken for one
_MAX_RULES = 3_000  # of a page; a drawing has more
_MAX_CELLS = 20_000  # of a table

Interval = tuple[float, float]
Cells = list[list[int]]  # for each row and column of a grid the number of the cell that covers it


@dataclass
class _Grid:
    """The lines of one table: where they lie, and which parts of each are drawn. Depths grow downwards."""

    xs: list[float] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)
    vertical: dict[float, list[Interval]] = field(default_factory=lambda: defaultdict(list))
    horizontal: dict[float, list[Interval]] = field(default_factory=lambda: defaultdict(list))


def find_ruled_tables(rules: list[Rect], pieces: list[Line]) -> list[Table]:
    """Return the tables of at least two rows and two columns that lines divide."""
    tables = []
    for grid in _find_grids(rules) if len(rules) > 3 else ():
        cells = _find_cells(grid)
        filled, inside = _fill_cells(cells, grid, pieces)
        if any(find_aligned_tables(in_cell) for in_cell in filled.values()):
            continue  # a frame around a table
        cells = _split_rows(cells, filled, grid)
        if filled and (table := _build_table(cells, filled, grid)):
            table.pieces = inside
            tables.append(table)
    return tables


def _find_grids(rules: list[Rect]) -> Iterator[_Grid]:
    """Return the groups of lines that touch each other."""
    horizontal = _merge([(-y0, x0, x1) for x0, y0, x1, y1 in rules if x1 - x0 > y1 - y0])
    vertical = _merge([(x0, -y1, -y0) for x0, y0, x1, y1 in rules if x1 - x0 <= y1 - y0])
    if len(horizontal) + len(vertical) > _MAX_RULES:
        return
    groups = {id(line): [line] for line in (*horizontal, *vertical)}
    for across in horizontal:
        depth, left, right = across
        for down in vertical:
            x, top, bottom = down
            if left - _NEAR < x < right + _NEAR and top - _NEAR < depth < bottom + _NEAR:
                one, other = groups[id(across)], groups[id(down)]
                if one is not other:
                    one += other
                    groups.update((id(line), one) for line in other)
    is_horizontal = set(map(id, horizontal))
    for lines in {id(lines): lines for lines in groups.values()}.values():
        grid = _Grid()
        for line in lines:
            at, start, end = line
            (grid.horizontal if id(line) in is_horizontal else grid.vertical)[at].append((start, end))
        grid.xs = _positions(grid.vertical, grid.horizontal)
        grid.depths = _positions(grid.horizontal, grid.vertical)
        if min(len(grid.xs), len(grid.depths)) >= 3 and len(grid.xs) * len(grid.depths) <= _MAX_CELLS:
            yield grid


def _merge(lines: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    """Return lines (position, start, end) of which those at almost one position, end to end, are one line."""
    snapped: dict[float, list[Interval]] = defaultdict(list)
    position = last = float("-inf")
    for at, start, end in sorted(lines):
        if at - last > _NEAR or at - position > 2 * _NEAR:
            position = at
        last = at
        snapped[position].append((start, end))
    merged = []
    for at, intervals in snapped.items():
        intervals.sort()
        start, end = intervals[0]
        for next_start, next_end in intervals[1:]:
            if next_start > end + _NEAR:
                merged.append((at, start, end))
                start, end = next_start, next_end
            end = max(end, next_end)
        merged.append((at, start, end))
    return merged


def _positions(lines: dict[float, list[Interval]], across: dict[float, list[Interval]]) -> list[float]:
    """Return where lines lie, and where the lines across end if the table has no frame."""
    found = sorted(lines)
    if not across or not found:
        return found
    ends = [end for intervals in across.values() for interval in intervals for end in interval]
    before, after = min(ends), max(ends)
    return [before] * (before < found[0] - 3 * _NEAR) + found + [after] * (after > found[-1] + 3 * _NEAR)


def _find_cells(grid: _Grid) -> Cells:
    """Join the places of a grid that no line divides into cells, and number these."""
    width = len(grid.xs) - 1
    cells = [[-1] * width for _ in grid.depths[1:]]
    count = 0
    for row in range(len(cells)):
        for column in range(width):
            if cells[row][column] >= 0:
                continue
            cells[row][column] = count
            pending = [(row, column)]
            while pending:
                for y, x in _open_neighbours(grid, *pending.pop()):
                    if cells[y][x] < 0:
                        cells[y][x] = count
                        pending.append((y, x))
            count += 1
    return cells


def _open_neighbours(grid: _Grid, row: int, column: int) -> Iterator[tuple[int, int]]:
    """Return the places beside one that no line divides from it."""
    xs, depths = grid.xs, grid.depths
    x, depth = (xs[column] + xs[column + 1]) / 2, (depths[row] + depths[row + 1]) / 2
    for step in (0, 1):
        if 0 < column + step < len(xs) - 1 and not _covered(grid.vertical.get(xs[column + step]), depth):
            yield row, column - 1 + 2 * step
        if 0 < row + step < len(depths) - 1 and not _covered(grid.horizontal.get(depths[row + step]), x):
            yield row - 1 + 2 * step, column


def _covered(intervals: list[Interval] | None, at: float) -> bool:
    return any(start <= at <= end for start, end in intervals or ())


def _fill_cells(cells: Cells, grid: _Grid, pieces: list[Line]) -> tuple[dict[int, list[Line]], list[Line]]:
    """Return the pieces in each cell, and all that are in the table.

    There are none if a cell with text is no rectangle: a drawing, no table.
    """
    filled: dict[int, list[Line]] = defaultdict(list)
    inside = []
    for piece in pieces:
        row = _index(-piece.middle, grid.depths)
        if row is None or not grid.xs[0] < piece.x1 or not piece.x0 < grid.xs[-1]:
            continue
        inside.append(piece)
        for part in _split_at_lines(piece, grid):
            center = min(max((part.x0 + part.x1) / 2, grid.xs[0]), grid.xs[-1])
            filled[cells[row][_index(center, grid.xs) or 0]].append(part)
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for row, numbers in enumerate(cells):
        for column, number in enumerate(numbers):
            places[number].append((row, column))
    for number in filled:
        rows, columns = ({place[axis] for place in places[number]} for axis in (0, 1))
        if len(rows) * len(columns) != len(places[number]):
            return {}, []
    return filled, inside


def _index(at: float, positions: list[float]) -> int | None:
    """Return between which positions one lies."""
    if not positions[0] <= at <= positions[-1]:
        return None
    return min(bisect_right(positions, at), len(positions) - 1) - 1


def _split_at_lines(piece: Line, grid: _Grid) -> Iterator[Line]:
    """Split a piece that goes across lines, at the blanks nearest to them."""
    first, last = bisect_right(grid.xs, piece.x0 + 2), bisect_right(grid.xs, piece.x1 - 2)
    for x in grid.xs[first:last]:
        if " " in piece.text and _covered(grid.vertical.get(x), -piece.middle):
            width = (piece.x1 - piece.x0) / len(piece.text)
            blanks = [match.start() for match in re.finditer(" ", piece.text)]
            blank = min(blanks, key=lambda index: abs(piece.x0 + (index + 0.5) * width - x))
            yield replace(piece, text=piece.text[:blank], x1=x - 0.1, hyphen=False)
            piece = replace(piece, text=piece.text[blank + 1 :], x0=x + 0.1, joined=False)
    yield piece


def _split_rows(cells: Cells, filled: dict[int, list[Line]], grid: _Grid) -> Cells:
    """Return the cells with a row for each line of text where a line divides groups of rows only."""
    rows: Cells = []
    new = sum(map(len, cells))
    for index, numbers in enumerate(cells):
        beside = {
            number
            for row in (*cells[max(0, index - 1) : index], *cells[index + 1 : index + 2])
            for number in row
        }
        own = {number: filled[number] for number in numbers if number in filled and number not in beside}
        levels = _common_levels(own, numbers, grid)
        if len(levels) < 2:
            rows.append(numbers)
            continue
        for level in levels:
            renamed = {}
            for number, pieces in own.items():
                renamed[number] = new
                filled[new] = _at_level(pieces, level)
                new += 1
            rows.append([renamed.get(number, number) for number in numbers])
    return rows


def _common_levels(own: dict[int, list[Line]], numbers: list[int], grid: _Grid) -> list[float]:
    """Return the heights of the lines that the cells of a row have in common, if they are rows of their own.

    Lines of text that was broken at the edge of its cell are none: the next word would have had no room.
    """
    levels: list[float] = []
    for piece in sorted(chain(*own.values()), key=lambda piece: -piece.middle):
        if not levels or levels[-1] - piece.middle > 0.5 * piece.height:
            levels.append(piece.middle)
        elif levels[-1] - piece.middle > 0.3 * piece.height:
            return []
    if len(levels) < 2 or len(own) < 2:
        return []
    full = listed = 0
    for number, pieces in own.items():
        columns = [column for column, other in enumerate(numbers) if other == number]
        width = grid.xs[columns[-1] + 1] - grid.xs[columns[0]]
        lines = [_at_level(pieces, level) for level in levels]
        if all(lines):
            full += 1
            listed += all(
                _has_room(above, below, width) or is_number(" ".join(piece.text for piece in above + below))
                for above, below in pairwise(lines)
            )
    return levels if full >= 0.6 * len(own) and listed >= 0.3 * full else []


def _at_level(pieces: list[Line], level: float) -> list[Line]:
    return [piece for piece in pieces if abs(piece.middle - level) < 0.5 * piece.height]


def _has_room(above: list[Line], below: list[Line], width: float) -> bool:
    first = min(below, key=lambda piece: piece.x0)
    word = len(first.text.split()[0]) / len(first.text) * (first.x1 - first.x0)
    return max(piece.x1 for piece in above) - min(piece.x0 for piece in above) + word < 0.85 * width


def _build_table(cells: Cells, filled: dict[int, list[Line]], grid: _Grid) -> Table | None:
    left_out = Counter[str]()
    texts = {number: join_cell(pieces, left_out) for number, pieces in filled.items()}
    numbers = [row for row in cells if any(texts.get(number) for number in row)]
    columns = _distinct_columns(numbers, texts)
    title = ""
    while numbers and len(set(numbers[0])) == 1 and len(columns) > 1:  # as wide as the table
        title = f"{title}\n\n{texts[numbers[0][0]]}".strip()
        numbers = numbers[1:]
        columns = _distinct_columns(numbers, texts)
    rows: list[list[str]] = []
    shown: set[int] = set()
    for above, row in zip([[], *numbers], numbers, strict=False):
        if above == row:
            continue  # a line that ends within the cells: no row of its own
        rows.append([])
        for column in columns:
            text = texts.get(row[column], "")
            again = row[column] in shown and (len(text) > MAX_REPEATED or len(set(row)) == 1)
            rows[-1].append("" if again else text)
            shown.add(row[column])
    if len(rows) < 2 or len(columns) < 2 or sum(map(bool, texts.values())) < 3:
        return None
    edges = [grid.xs[column] for column in columns] + [grid.xs[-1]]
    return Table(rows, [], edges, left_out, title)


def _distinct_columns(numbers: Cells, texts: dict[int, str]) -> list[int]:
    """Return the columns that have a text of their own."""
    if not numbers:
        return []
    return [
        column
        for column in range(len(numbers[0]))
        if any(texts.get(row[column]) and (column == 0 or row[column] != row[column - 1]) for row in numbers)
    ]
