"""Read CSV files: as a table in Markdown, or each row as a document."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence

from .json_rows import Item, row_item
from .parsed import Unreadable
from .plain import decode
from .write_table import write_table

_DELIMITERS = "\t;|,"  # commas last: they also stand in numbers
_SAMPLE = 100_000  # characters
_MAX_FIELD = 50_000_000  # characters
MAX_CELLS = 5_000_000
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ \t]*(?:\r\n?|\n)', re.IGNORECASE)  # of Excel
_NUMBER = re.compile(r"[-+(]?[^\w\s]?[ \u00a0]?\d[\d.,'\u00a0\u202f ]*(?:[eE][-+]?\d+)?[ \u00a0]?[%€$£]?\)?")
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[ T]\d{1,2}:\d\d.*)?|\d{1,2}:\d\d(?::\d\d)?")


def read_table(data: bytes, *, text_field: str) -> Iterator[Item]:
    """Yield the rows of a CSV file that has a column named `text_field`, else the file as one table.

    Raises Unreadable if it is not text, or holds no table.
    """
    rows = [row for row in _parse_csv(decode(data)) if any(map(str.strip, row))]
    if not rows:
        raise Unreadable("empty")
    fields = [field.strip() for field in rows[0]]
    if text_field in fields:
        for number, row in enumerate(rows[1:], start=1):
            beyond = {"": " ".join(row[len(fields) :])}
            yield row_item(beyond | dict(zip(fields, row, strict=False)), number, text_field)
    else:
        yield Item(0, render_table(rows))


def _parse_csv(text: str) -> list[list[str]]:
    csv.field_size_limit(_MAX_FIELD)
    if match := _SEPARATOR_LINE.match(text):
        return _parse(text[match.end() :], match[1])
    samples = {delimiter: _sample(text, delimiter) for delimiter in _DELIMITERS}
    return _parse(text, max(_DELIMITERS, key=lambda delimiter: _regularity(samples[delimiter])))


def _sample(text: str, delimiter: str) -> list[list[str]]:
    """Return the first rows; the last of them may be cut."""
    rows = csv.reader(io.StringIO(text[:_SAMPLE], newline=""), delimiter=delimiter)
    return [row for row in rows if row]


def _regularity(rows: list[list[str]]) -> float:
    """Return the share of rows with as many fields, two or more, as most rows have."""
    widths = [len(row) for row in rows]
    usual = max(set(widths), key=widths.count, default=1)
    return widths.count(usual) / len(widths) if usual > 1 else 0.0


def _parse(text: str, delimiter: str) -> list[list[str]]:
    """Parse CSV; if a quotation mark is never closed, quotation marks are taken for text."""
    if text.count(delimiter) > MAX_CELLS:
        raise Unreadable(f"more than {MAX_CELLS:,} cells; split it")
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
        try:
            return list(
                csv.reader(
                    io.StringIO(text, newline=""),
                    delimiter=delimiter,
                    quoting=quoting,
                    skipinitialspace=delimiter != "\t",
                    strict=quoting == csv.QUOTE_MINIMAL,
                )
            )
        except csv.Error:
            continue
    raise Unreadable("no table: its rows cannot be told apart")


def render_table(rows: Iterable[Sequence[str]]) -> str:
    """Render rows of cells as Markdown; lines above the head that fill one cell become text above the table.

    Columns that are empty in all rows are left out.
    """
    cells = [[" ".join(cell.split()) for cell in row] for row in rows]
    width = max(map(len, cells), default=0)
    if width * len(cells) > 4 * MAX_CELLS:
        raise Unreadable(f"a table of {len(cells):,} rows with up to {width:,} columns; split it")
    cells = [row + [""] * (width - len(row)) for row in cells]
    used = [column for column in range(width) if any(row[column] for row in cells)]
    cells = [[row[column] for column in used] for row in cells]
    if len(used) == 1:
        return "\n".join(row[0] for row in cells)
    lines = []
    while cells and len(set(filter(None, cells[0]))) == 1:
        lines += [next(filter(None, cells.pop(0))), ""]
    if not cells:
        return "\n".join(lines).strip()
    head = cells.pop(0) if is_head(cells[0]) else [""] * len(used)
    return "\n".join([*lines, write_table([head, *cells])])


def is_head(row: Sequence[str]) -> bool:
    """Return whether a row names columns: no numbers or dates among its cells, unless they are years."""
    cells = [cell for cell in row if cell]
    figures = [cell for cell in cells if _NUMBER.fullmatch(cell) or _DATE.fullmatch(cell)]
    years = all(re.fullmatch(r"(?:1[89]|20|21)\d\d", cell) for cell in figures)
    return bool(cells) and (not figures or (years and len(set(figures)) == len(figures) > 1))
