"""Build the HTML of one text of an RTF file: its body, a note, a box, or a header of pages."""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape

from ..number_mark import NUMBER_MARK
from ..page_numbers import PAGE_NUMBER, without_page_numbers
from ..write_html import write_list
from .tables import CellFormat, Row, write_rtf_table


@dataclass
class Stream:
    """Paragraphs as they come, with the list and the table that are being written."""

    at_margin: bool = False  # a header or footer of pages
    number: int = 0  # of a note
    blocks: list[str] = field(default_factory=list)
    items: list[tuple[int, str]] = field(default_factory=list)  # level and HTML
    rows: list[Row] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)  # of the row
    cell: list[str] = field(default_factory=list)  # paragraphs of the cell
    boxes: list[str] = field(default_factory=list)  # that hang on the paragraph
    line: list[str] = field(default_factory=list)  # HTML of the paragraph
    texts: list[str] = field(default_factory=list)  # the same without HTML
    label: str = ""

    def add(self, text: str, raised: str = "") -> None:
        """Add text to the paragraph. raised: "sup", "sub" or nothing."""
        self.texts.append(text)
        html = escape(text.replace(PAGE_NUMBER, "")).replace("\n", "<br>").replace("\t", " ")
        self.line.append(f"<{raised}>{html}</{raised}>" if raised else html)

    def end_paragraph(self, *, in_table: bool, level: int, depth: int) -> str:
        """Write the paragraph. level: of a heading; depth: in a list. Returns what of its text was added."""
        html, text, label = "".join(self.line).strip(), "".join(self.texts), self.label.strip()
        self.line, self.texts, self.label = [], [], ""
        if self.at_margin and PAGE_NUMBER in text:
            html = escape(without_page_numbers(text))
        numbered = any(map(str.isalnum, label))
        if html:
            self._write(html, label if numbered else "", bool(label), in_table, level, depth)
        elif not in_table:
            self.end_table()
        self.blocks += self.boxes
        self.boxes = []
        return label if numbered and html else ""

    def _write(self, html: str, label: str, in_list: bool, in_table: bool, level: int, depth: int) -> None:
        if label:
            html = f"{NUMBER_MARK}{escape(label)} {html}"
        if in_table:
            self.cell.append(html)
            return
        self.end_table()
        if in_list and not level:
            self.items.append((depth, html))
            return
        self.end_list()
        self.blocks.append(f"<h{level}>{html}</h{level}>" if level else f"<p>{html}</p>")

    def end_cell(self) -> None:
        """End a cell of a table."""
        self.cells.append("<br>".join(self.cell))
        self.cell = []

    def end_row(self, formats: list[CellFormat]) -> None:
        """End a row, whose cells have these formats."""
        self.end_list()
        if self.cells:
            self.rows.append(Row(list(formats), self.cells))
            self.cells = []

    def end_list(self) -> None:
        """Write the list that has ended."""
        if self.items:
            self.blocks.append(write_list(self.items))
            self.items = []

    def end_table(self) -> None:
        """Write the table that has ended, with what a broken file leaves in its last cell."""
        if self.cell or self.cells:
            self.end_cell()
            self.end_row([])
        if self.rows:
            self.blocks.append(write_rtf_table(self.rows))
            self.rows = []

    def html(self) -> str:
        """Return all that was written."""
        self.end_list()
        self.end_table()
        return "".join(self.blocks)
