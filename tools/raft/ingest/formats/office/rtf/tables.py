"""Put the rows of an RTF table on one grid of columns."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

from ..write_html import write_table

_TOLERANCE = 30  # twips by which edges of the same column differ


@dataclass
class CellFormat:
    """Where a cell ends, in twips from the margin, and whether it goes on with the one beside or above it."""

    right: int = 0
    goes_on: bool = False
    goes_down: bool = False


@dataclass
class Row:
    """The formats of a row's cells and their HTML."""

    formats: list[CellFormat]
    cells: list[str] = field(default_factory=list)


@dataclass
class _Placed:
    html: str
    columns: int
    rows: int = 1


def write_rtf_table(rows: list[Row]) -> str:
    """Return rows as an HTML table; a cell spans the columns that other rows have in its width."""
    edges: list[int] = []
    for edge in sorted(format.right for row in rows for format in row.formats):
        if not edges or edge - edges[-1] > _TOLERANCE:
            edges.append(edge)
    written: list[list[_Placed]] = []
    above: dict[int, _Placed] = {}  # the cells that may go on, by their first column
    for row in rows:
        column = 0
        placed: list[_Placed] = []
        for index, format in enumerate(_complete(row)):
            html = row.cells[index] if index < len(row.cells) else ""
            end = max(column + 1, bisect_right(edges, format.right + _TOLERANCE))
            if format.goes_on and placed:
                placed[-1].columns += end - column
                placed[-1].html += html
            elif format.goes_down and column in above:
                above[column].rows += 1
                above[column].html += html
            else:
                above[column] = _Placed(html, end - column)
                placed.append(above[column])
            column = end
        written.append(placed)
    return write_table(
        [[(cell.html, f' colspan="{cell.columns}" rowspan="{cell.rows}"') for cell in row] for row in written]
    )


def _complete(row: Row) -> list[CellFormat]:
    """Return a format for each cell of a row, even if the file has too few."""
    missing = len(row.cells) - len(row.formats)
    last = row.formats[-1].right if row.formats else 0
    return [*row.formats, *(CellFormat(last + 1000 * (index + 1)) for index in range(missing))]
