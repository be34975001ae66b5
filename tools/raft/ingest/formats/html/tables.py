"""Write HTML tables as Markdown: merged cells repeated, so that every value stands below its own heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bs4 import Tag

from ..write_table import MAX_REPEATED, write_table
from .tree import attribute

MAX_COLUMNS = 1000  # as in the HTML standard
MAX_CELLS = 500_000  # of a table with its merged cells repeated

_ROWS = ("thead", "tbody", "tfoot", "tr")

WriteCell = Callable[[Tag], str]  # returns the text of a cell in one line


class _Slot(NamedTuple):
    text: str
    cell: int  # the same in all slots of a merged cell
    below: int  # rows that the cell covers further down


class _Row(NamedTuple):
    texts: dict[int, str]  # by column
    starts: set[int]  # columns in which a cell begins
    cells: int  # cells that cover the row, merged ones counted once
    is_head: bool
    has_heads: bool  # one at least, such as that of the row
    height: int  # rows down to the end of the highest cell, if some of its cells are merged across


class Grid(NamedTuple):
    """A table: lines above it, then rows of the same number of cells, the first of which holds the heads."""

    above: list[str]
    rows: list[list[str]]


def read_table(table: Tag, write_cell: WriteCell) -> Grid:
    """Read a table into a grid; two rows of heads are joined, a title across the table stands above it."""
    groups = _row_groups(table)
    rows = [row for is_head, group in groups for row in _fill(group, is_head, write_cell)]
    rows = [row for row in rows if any(row.texts.values())]
    caption = table.find("caption", recursive=False)
    above = [write_cell(caption)] if isinstance(caption, Tag) else []
    columns = sorted(set().union(*(row.starts for row in rows)))
    while rows and rows[0].cells == 1 and len(columns) > 1 and rows[0].texts.keys() >= set(columns):
        above.append(next(iter(rows.pop(0).texts.values())))
    heads = next((index for index, row in enumerate(rows) if not row.is_head), min(1, len(rows)))
    if rows and not heads and not rows[0].has_heads:  # the first row is the best guess
        heads = min(rows[0].height, len(rows))
    head = [_join([row.texts.get(column, "") for row in rows[:heads]]) for column in columns]
    body = [_values(row, columns) for row in rows[heads:]]
    return Grid([text for text in above if text], [head, *body] if rows else [])


def to_markdown(grid: Grid) -> str:
    """Return a grid as a Markdown table."""
    return "\n\n".join([*grid.above, *([write_table(grid.rows)] if grid.rows else [])])


def to_line(grid: Grid) -> str:
    """Return a grid as one line, for a table in a cell of another one."""
    rows = (", ".join(filter(None, row)) for row in grid.rows)
    return "; ".join(filter(None, [*grid.above, *rows]))


def cells_of(row: Tag) -> list[Tag]:
    """Return the cells of a row, without those of tables in them."""
    return [cell for cell in row.children if isinstance(cell, Tag) and cell.name in ("td", "th")]


def _row_groups(table: Tag) -> list[tuple[bool, list[Tag]]]:
    """Return the rows group by group, heads first and foot last; a merged cell ends with its group."""
    heads: list[tuple[bool, list[Tag]]] = []
    bodies: list[tuple[bool, list[Tag]]] = []
    feet: list[tuple[bool, list[Tag]]] = []
    loose: list[Tag] = []
    for child in [child for child in table.children if isinstance(child, Tag) and child.name in _ROWS]:
        if child.name == "tr":
            loose.append(child)
            continue
        if loose:
            bodies.append((False, loose))
            loose = []
        group = (child.name == "thead", child.find_all("tr", recursive=False))
        {"thead": heads, "tbody": bodies, "tfoot": feet}[child.name].append(group)
    if loose:
        bodies.append((False, loose))
    return [*heads, *bodies, *feet]


def _fill(group: list[Tag], is_head: bool, write_cell: WriteCell) -> list[_Row]:
    """Place the cells of a group of rows as the HTML standard does."""
    rows: list[_Row] = []
    slots: dict[int, _Slot] = {}
    total = 0
    for index, row in enumerate(group):
        slots = {
            column: _Slot(_shorten(slot.text), slot.cell, slot.below - 1)
            for column, slot in slots.items()
            if slot.below > 0
        }
        starts: set[int] = set()
        cells, column = cells_of(row), 0
        for cell in cells:
            while column in slots:
                column += 1
            starts.add(column)
            below = min(_span(cell, "rowspan") or len(group), len(group) - index) - 1
            width = _span(cell, "colspan") or 1
            if total > MAX_CELLS or column >= MAX_COLUMNS:
                below, width = 0, 1
            _place(slots, column, width, _Slot(write_cell(cell), id(cell), below))
        total += len(slots)
        rows.append(_describe(slots, starts, cells, is_head))
    return rows


def _place(slots: dict[int, _Slot], column: int, width: int, slot: _Slot) -> None:
    slots[column] = slot
    repeated = slot._replace(text=_shorten(slot.text))
    for covered in range(column + 1, min(column + width, MAX_COLUMNS)):
        if covered in slots:  # cells that overlap: a fault of the page
            break
        slots[covered] = repeated


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_REPEATED else text[: MAX_REPEATED - 2] + " …"


def _describe(slots: dict[int, _Slot], starts: set[int], cells: list[Tag], is_head: bool) -> _Row:
    has_heads = any(cell.name == "th" for cell in cells)
    all_heads = bool(cells) and all(cell.name == "th" or not cell.get_text(strip=True) for cell in cells)
    is_grouped = any(_span(cell, "colspan") > 1 for cell in cells)
    height = max((_span(cell, "rowspan") for cell in cells), default=1) if is_grouped else 1
    texts = {column: slot.text for column, slot in slots.items()}
    merged = len({slot.cell for slot in slots.values()})
    return _Row(texts, starts, merged, is_head or all_heads, has_heads, height)


def _span(cell: Tag, name: str) -> int:
    """Return how many columns or rows a cell covers; 0 means all the rest."""
    value = attribute(cell, name).strip()
    return min(int(value[:9]), 65_534) if value.isascii() and value.isdigit() else 1


def _join(texts: list[str]) -> str:
    return " ".join(dict.fromkeys(filter(None, texts)))


def _values(row: _Row, columns: list[int]) -> list[str]:
    if row.cells == 1:  # a cell across the table, such as the title of a group of rows, is not repeated
        return [row.texts.get(column, "") if index == 0 else "" for index, column in enumerate(columns)]
    return [row.texts.get(column, "") for column in columns]
