"""Read Excel workbooks: the tables of each sheet as Markdown, with values as they are shown."""

from __future__ import annotations

import io
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..parsed import Parsed, Unreadable, count_characters, make_parsed
from ..tables import MAX_CELLS, is_head, render_table
from .cell_values import show
from .ooxml import text_of
from .unpack import is_xml, read_parts, with_usual_names

_MAX_ROWS = 1_048_576  # of a sheet; openpyxl would make up all rows before one with a higher number
_HIDDEN = "hidden sheets, rows and columns"
_Range = tuple[int, int, int, int]  # left column, top row, right column, bottom row; from 1


@dataclass
class _Layout:
    """What openpyxl does not tell of a sheet that it reads row by row."""

    hidden_rows: set[int] = field(default_factory=set)
    hidden_columns: list[range] = field(default_factory=list)
    merged: list[_Range] = field(default_factory=list)
    without_result: int = 0  # formulas whose result is not stored

    def hides(self, row: int, column: int) -> bool:
        return row in self.hidden_rows or any(column in columns for columns in self.hidden_columns)


def read_workbook(path: str) -> Parsed:
    """Read a workbook: its visible sheets, with the results of formulas.

    Raises Unreadable if it is broken, encrypted, has no values or unpacks to more than MAX_UNPACKED.
    """
    parts = read_parts(path, "XLSX", is_xml)
    if "xl/workbook.xml" not in parts:
        raise Unreadable("broken: a ZIP file, but no XLSX")
    try:
        return _read_parts_of_book(parts)
    except (Unreadable, MemoryError, RecursionError):
        raise
    except Exception as error:  # openpyxl raises whatever a broken part leads to
        raise Unreadable("broken: its parts cannot be read as a workbook") from error


def _read_parts_of_book(parts: dict[str, bytes]) -> Parsed:
    import openpyxl

    stream = _pack(parts)
    book = openpyxl.load_workbook(stream, read_only=True, data_only=True)
    archive = zipfile.ZipFile(stream)
    texts: list[str] = []
    notes: list[str] = []
    left_out, seen = Counter[str](), 0
    for sheet in book.worksheets:
        layout = _read_layout(archive, sheet._worksheet_path)
        cells, count = _read_cells(sheet)
        seen += count
        if sheet.sheet_state == "visible":
            rows, hidden = _visible_rows(cells, layout)
            left_out[_HIDDEN] += hidden
            text = "\n\n".join(map(render_table, _tables(rows, layout)))
            if text:
                texts.append(f"## {sheet.title}\n\n{text}" if len(book.worksheets) > 1 else text)
            notes += _missing_results(sheet.title, layout)
        else:
            left_out[_HIDDEN] += count
    notes += [f"chart sheet {sheet.title} is not read" for sheet in book.chartsheets]
    for name in parts:
        if name.startswith("xl/drawings/drawing"):  # text boxes
            texts += [text := _read_texts(archive, name)]
            seen += count_characters(text)
        if name.startswith(("xl/comments", "xl/comments/")):
            left_out["comments"] += (count := count_characters(_read_texts(archive, name)))
            seen += count
    text = "\n\n".join(filter(None, texts))
    if not text and notes:
        raise Unreadable(notes[0])
    return make_parsed(text, title=book.properties.title or "", notes=notes, left_out=left_out, seen=seen)


def _pack(parts: dict[str, bytes]) -> io.BytesIO:
    """Return the parts as an archive in memory, with the usual names instead of those of the strict form."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, with_usual_names(part))
    return stream


def _missing_results(title: str, layout: _Layout) -> Iterator[str]:
    if layout.without_result:
        yield (
            f"{layout.without_result} formulas of sheet {title} have no stored result: "
            "open the file in a spreadsheet program and save it"
        )


def _read_cells(sheet: Any) -> tuple[dict[int, dict[int, str]], int]:
    """Return the text of each cell that has any, by row and column, and their characters."""
    sheet.reset_dimensions()  # the size that a file states may be a million rows, or too small
    cells: dict[int, dict[int, str]] = {}
    seen = size = 0
    for row in sheet.iter_rows():
        texts = {cell.column: text for cell in row if cell.value is not None and (text := show(cell).strip())}
        if texts:
            cells[row[-1].row] = texts
            seen += sum(map(count_characters, texts.values()))
            size += len(texts)
            if size > MAX_CELLS:
                raise Unreadable(f"more than {MAX_CELLS:,} cells; split it")
    return cells, seen


def _visible_rows(cells: dict[int, dict[int, str]], layout: _Layout) -> tuple[dict[int, dict[int, str]], int]:
    """Return the rows without hidden cells and with the text of merged cells in each of their cells.

    Also return the characters of the hidden cells.
    """
    visible: dict[int, dict[int, str]] = {}
    hidden = 0
    for row, texts in cells.items():
        for column, text in texts.items():
            if layout.hides(row, column):
                hidden += count_characters(text)
            else:
                visible.setdefault(row, {})[column] = text
    if not visible:
        return visible, hidden
    first = min(min(texts) for texts in visible.values())
    last = max(max(texts) for texts in visible.values())
    size = 0
    for left, top, right, bottom in layout.merged:
        text = cells.get(top, {}).get(left, "")
        columns = range(max(left, first), min(right, last) + 1)
        rows = [row for row in range(top, bottom + 1) if row in visible] if text else []
        size += len(rows) * len(columns) + bottom - top
        if size > MAX_CELLS:
            raise Unreadable(f"more than {MAX_CELLS:,} merged cells")
        for row in rows:
            visible[row].update((column, text) for column in columns if not layout.hides(row, column))
    return visible, hidden


def _tables(rows: dict[int, dict[int, str]], layout: _Layout) -> Iterator[list[list[str]]]:
    """Yield the tables of a sheet: one begins where a row that names columns follows an empty one."""
    table: list[list[str]] = []
    width = max((max(texts) for texts in rows.values()), default=0)
    previous = 0
    for row, texts in rows.items():
        cells = [texts.get(column, "") for column in range(1, width + 1)]
        gap = any(number not in layout.hidden_rows for number in range(previous + 1, row))
        if table and gap and len(texts) > 1 and is_head(cells):
            yield table
            table = []
        table.append(cells)
        previous = row
    if table:
        yield table


def _read_layout(archive: zipfile.ZipFile, name: str) -> _Layout:
    from lxml import etree
    from openpyxl.utils.cell import range_boundaries

    layout = _Layout()
    with archive.open(name) as stream:
        tags = [f"{{*}}{tag}" for tag in ("row", "col", "mergeCell", "c")]
        for _, element in etree.iterparse(stream, tag=tags, resolve_entities=False, no_network=True):
            tag = etree.QName(element).localname
            if tag == "mergeCell":
                layout.merged.append(range_boundaries(element.get("ref")))
            elif tag == "c":
                values = {etree.QName(child).localname: child.text for child in element}
                # A formula may well result in an empty text ("str").
                layout.without_result += (
                    "f" in values
                    and not values.get("v")
                    and not ("v" in values and element.get("t") == "str")
                )
            elif tag == "row" and int(element.get("r", 0)) > _MAX_ROWS:
                raise Unreadable(
                    f"broken: it has a row {element.get('r')}, and Excel no more than {_MAX_ROWS:,}"
                )
            elif element.get("hidden") in ("1", "true"):
                if tag == "row":
                    layout.hidden_rows.add(int(element.get("r", 0)))
                else:
                    layout.hidden_columns.append(range(int(element.get("min")), int(element.get("max")) + 1))
            if tag != "c":
                element.clear()
    return layout


def _read_texts(archive: zipfile.ZipFile, name: str) -> str:
    """Return the paragraphs of a part that holds text boxes or comments."""
    from lxml import etree

    root = etree.fromstring(archive.read(name), etree.XMLParser(resolve_entities=False, no_network=True))
    paragraphs = root.findall(".//{*}p") or root.findall(".//{*}comment")
    texts = (text_of(paragraph, "{*}t") for paragraph in paragraphs)
    return "\n".join(filter(None, texts))
