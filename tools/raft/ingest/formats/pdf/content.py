"""Take from a PDF what is no running text: tables, form fields, comments, nonsense, hidden text, scans."""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..parsed import Unreadable, count_characters
from .aligned import find_aligned_tables
from .characters import blank_hidden, blank_meaningless, render
from .forms import FieldText, attach_fields, field_pieces, read_annotations
from .lines import Line
from .objects import page_objects, turned
from .ruled import find_ruled_tables
from .tables import Table, continue_table, replace_tables

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument, PdfPage

_PICTURE, _ALL = 0.25, 0.8  # shares of a page: a picture that may be a scan, one that is the whole page
_FEW, _MORE = 100, 250  # letters and digits stamped on such a scan
_STAMP = 0.022  # of the height of a page: the height of stamped text; slides with a picture have larger type
_OUTLINES = 200  # paths on a page without text that may be text drawn as shapes
_INK = 128  # the grey of a pixel of a page that is not empty, at most
_PLACEHOLDER = 1500  # letters and digits at most on the only page that stands in for a form or a portfolio
_XFA = re.compile(r"adobe", re.IGNORECASE)
_NOT_REPLACED = re.compile(r"if\s+this\s+message\s+is\s+not\s+eventually\s+replaced", re.IGNORECASE)
_PORTFOLIO = re.compile(r"portfolio|portefeuille|portafoglio|adobe|acrobat", re.IGNORECASE)


class PageContent:
    """What a page holds besides running text, and the account of it.

    `extra` counts the letters and digits that the page does not paint: those of fields and comments, and
    characters whose codes are neither. `before` is the page before, from which a table may go on.
    """

    def __init__(self, page: PdfPage, before: PageContent | None = None) -> None:
        self._page = page
        self._objects = page_objects(page)
        self._fields: list[FieldText] = []
        self._nonsense = self._letters = 0
        self._only_stamps = True
        self._bottom = self._top = 0.0
        self._table_before = before._last_table if before else None
        self._last_table: Table | None = None
        self.attachments = 0
        self.left_out = Counter[str]()
        self.extra = 0

    def clean_text(self, textpage: Any, text: str) -> str:
        """Return the text of the page, one element for each character, with blanks for what is no text."""
        annotations = read_annotations(self._page, textpage)
        self._fields = annotations.texts
        self.attachments = annotations.attachments
        self.left_out.update(annotations.left_out)
        fields = sum(count_characters(field.text) for field in self._fields)
        self.extra += fields + annotations.left_out.total()
        visible = blank_hidden(self._page, textpage, text, self._objects)
        self.left_out["hidden text"] += count_characters(text) - count_characters(visible)
        clean, self._nonsense, foreign = blank_meaningless(textpage, visible)
        self.left_out["characters without meaning"] += self._nonsense
        self.extra += foreign
        self._letters = count_characters(clean) + fields
        return clean

    def place_fields_and_ruled_tables(self, pieces: list[Line], rotation: int) -> list[Line]:
        """Return the pieces of one direction of text with the fields and ruled tables at their places."""
        angle = pieces[0].angle + rotation
        _, self._bottom, _, self._top = turned(self._page.get_bbox(), angle)
        self._only_stamps &= all(self._is_stamp(piece, angle) for piece in pieces)
        fields = field_pieces(self._fields, pieces, angle) if pieces[0].angle == 0 else []
        rules = [turned(rule, angle) for rule in self._objects.rules]
        tables = find_ruled_tables(rules, [*pieces, *fields])
        taken = {id(piece) for table in tables for piece in table.pieces}
        pieces = attach_fields([field for field in fields if id(field) not in taken], pieces)
        return self._replace(pieces, tables)

    def place_aligned_tables(self, pieces: list[Line]) -> list[Line]:
        """Return the pieces of a column with the tables without lines at their places."""
        return self._replace(pieces, find_aligned_tables(pieces))

    def _replace(self, pieces: list[Line], tables: list[Table]) -> list[Line]:
        height = self._top - self._bottom
        for table in tables:
            if self._table_before and not table.contents and table.top > self._bottom + 0.7 * height:
                continue_table(table, self._table_before)
                self._table_before = None
            if table.bottom < self._bottom + 0.3 * height and not table.contents:
                self._last_table = table
            self.left_out.update(table.left_out)
        return replace_tables(pieces, tables) if tables else pieces

    @cached_property
    def unread(self) -> str:
        """Return why the page is not read, if most of it is not: "picture", "scan" or "nonsense"."""
        if self._nonsense > 0.2 * (self._letters + self._nonsense):
            return "nonsense"
        share = self._share_of_pictures()
        if not self._letters:
            if share or self._objects.paths > _OUTLINES:
                return "picture"
            return "nonsense" if self._objects.texts > 2 and render(self._page).min() < _INK else ""
        few = _MORE if share > _ALL else _FEW
        scan = share > _PICTURE and self._letters < few and self._only_stamps
        return "scan" if scan and not self._objects.unpainted else ""

    def has_text(self) -> bool:
        """Return whether there is more text than a stamp or the scraps of a page without meaning."""
        return self.unread in ("", "nonsense") and self._letters > 0.5 * self._nonsense

    def _is_stamp(self, piece: Line, angle: int) -> bool:
        """Return whether a text may be stamped on a scan: in small type, in the margin or over a picture."""
        height = max(1.0, self._top - self._bottom)
        if piece.height > _STAMP * height:
            return False
        x, y = (piece.x0 + piece.x1) / 2, piece.middle
        pictures = (turned(picture, angle) for picture in self._objects.pictures)
        return not 0.15 < (y - self._bottom) / height < 0.85 or any(
            x0 < x < x1 and y0 < y < y1 for x0, y0, x1, y1 in pictures
        )

    def _share_of_pictures(self) -> float:
        """Return which share of the page pictures cover, at most; a scan may consist of strips."""
        x0, y0, x1, y1 = self._page.get_bbox()
        covered = 0.0
        for left, bottom, right, top in self._objects.pictures:
            width, height = min(right, x1) - max(left, x0), min(top, y1) - max(bottom, y0)
            covered += max(0.0, width) * max(0.0, height)
        return covered / max(1.0, (x1 - x0) * (y1 - y0))


def attached_files(document: PdfDocument) -> list[str]:
    """Return the names of the files that are embedded in a document."""
    count = min(document.count_attachments(), 1000)
    return [document.get_attachment(index).get_name() for index in range(count)]


def check_placeholder(document: PdfDocument, text: str) -> None:
    """Raise Unreadable if the text only says which program shows what the document really is."""
    import pypdfium2.raw as raw

    if len(document) > 1 or count_characters(text) > _PLACEHOLDER:
        return
    xfa = document.get_formtype() in (raw.FORMTYPE_XFA_FULL, raw.FORMTYPE_XFA_FOREGROUND)
    if (xfa and _XFA.search(text)) or _NOT_REPLACED.search(text):
        raise Unreadable("an XFA form, which only Adobe Reader shows: open it there and print it as a PDF")
    files = attached_files(document)
    if files and _PORTFOLIO.search(text):
        names = ", ".join(files[:5]) + (" …" if len(files) > 5 else "")
        raise Unreadable(f"a portfolio of {len(files)} files ({names}): save them out of it and read those")
