"""Join the pieces of a PDF page into visual lines, with raised digits as powers or as reference marks."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..parsed import count_characters

# [12], [a], [note 3], with the page numbers that some encyclopedias add: [1]:163–167
_MARK = r"\[(?:\d{1,3}|[a-z]|(?:note|nb|Anm\.) ?\d+)\](?::\d+(?:[–-]\d+)?)?"
_MARK_AFTER_STOP = re.compile(rf"(?<=[.,;:!?)\]\"”’»。，、])\s?(?:{_MARK})+(?=\s|$)")
_BRACKETED_MARKS = re.compile(rf"(?:{_MARK})+")
_RAISED_NUMBER = re.compile(r"[+−–-]?\d{1,3}(?:(?:, ?|[–-])\d{1,3})*[+−–-]?")
_EXPONENT = re.compile(r"[+−–-]?\d{1,3}(?:\.\d+)?[+−–-]?")
_SIGNED = re.compile(r"[+−–-]\d+|\d+[+−–-]")
_NOTED = re.compile(r"[\w.,;:!?%°…)\]\"'”’»」』。，、؟।*†]$")  # what a reference mark may follow: no operator
_YEAR = re.compile(r"(?<![\d.,])(?:1[5-9]|20)\d\d$")
_UNIT = re.compile(
    r"(?<![^\W\d_])(?:[kcmdnµμ]?m|in|ft|yd|mi|k?g|m?s|sec|h|[kM]?Pa|[kMGc]?Hz|[kM]?[JNWVA]|px)$"
)
_SYMBOL = re.compile(r"(?<!\w)[^\W\d_]$|[\d)\]][^\W\d_]$")  # a variable, or the last letter of 4πr
_FORMULA = re.compile(r"[(\[][^()\[\]]*[+*/=·×−^][^()\[\]]*[)\]]$|[(\[]\w[)\]]$")
_ELEMENT = re.compile(r"[A-Z][a-z]?(?![a-z])")
_BOLD = re.compile(r"bold|black|heavy|CMBX", re.IGNORECASE)
_CLOSING = tuple(".,;:!?)")
_LEADERS = ("...", ". .", "…", "···", "___")  # they lead to a number of a page


@dataclass(slots=True)
class Line:
    """A visual line or a piece of one: its text and its box in points, y upwards, as high as its font."""

    text: str
    x0: float
    x1: float
    y: float
    height: float
    font: str = ""  # empty if the line begins and ends in different fonts
    hyphen: bool = False  # ended in a hyphen, which text does not include
    rtl: bool = False
    mark_after: bool = False  # a reference mark followed text
    labelled: bool = False  # begins with a raised number, as footnotes do
    aside: bool = False  # part of a box or caption beside the running text
    heading: bool = False
    block: bool = False  # a table in Markdown, a paragraph of its own
    wide: bool = False  # has a gap as wide as three characters: between a running head and its page number
    level: float = 0.5  # of its middle on the page: 0 at the foot, 1 at the head
    base: float = 0.0  # y of the line on which the letters stand
    # Of a piece:
    angle: int = 0  # degrees to the left by which it is turned; its box is as if it stood upright
    order: int = 0  # of painting
    joined: bool = False  # PDFium has it in one line with the piece before
    spaced: bool = False  # a blank precedes it there
    column: int = 0  # 0 outside columns; lines do not go from one column to another

    @property
    def bold(self) -> bool:
        """Return whether the line is bold, by the name of its font: PDFs rarely state the weight."""
        return _BOLD.search(self.font) is not None

    @property
    def middle(self) -> float:
        """Return the height of the middle of the line on the page."""
        return self.y + self.height / 2

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, bottom, right and top."""
        return self.x0, self.y, self.x1, self.y + self.height

    def beside(self, other: Line) -> bool:
        """Return whether two lines are side by side: they overlap vertically and not horizontally."""
        apart = self.x1 <= other.x0 + 1 or other.x1 <= self.x0 + 1
        return apart and abs(self.y - other.y) < 0.6 * max(self.height, other.height)

    def overlaps(self, other: Line) -> bool:
        """Return whether two lines overlap horizontally."""
        return min(self.x1, other.x1) - max(self.x0, other.x0) > 1


def join_pieces(pieces: list[Line], left_out: Counter[str]) -> list[Line]:
    """Return the lines that pieces, in the order of painting, make up; reference marks are left out.

    PDFium ends a line at raised or lowered text, and has columns painted line by line in one line.
    """
    lines: list[Line] = []
    for index, piece in enumerate(pieces):
        following = pieces[index + 1] if index + 1 < len(pieces) else None
        if lines and lines[-1].column == piece.column and _continues(lines[-1], piece):
            _extend(lines[-1], piece, following, left_out)
        else:
            lines.append(piece)
    for line in lines:
        text = _MARK_AFTER_STOP.sub("", line.text).strip()
        left_out["reference marks"] += count_characters(line.text) - count_characters(text)
        line.text, line.rtl = text, is_rtl(text)
    return [line for line in lines if line.text]


def group_rows(pieces: Iterable[Line], tolerance: Callable[[Line, Line], float]) -> list[list[Line]]:
    """Return the pieces row by row from the head of the page to its foot.

    tolerance: points by which the middle of a piece may lie below that of the first one of its row.
    """
    rows: list[list[Line]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.middle):
        if rows and rows[-1][0].middle - piece.middle < tolerance(rows[-1][0], piece):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return rows


def is_rtl(text: str) -> bool:
    """Return whether most characters belong to a script that is written from right to left."""
    return not text.isascii() and 2 * sum(
        unicodedata.bidirectional(char) in ("R", "AL") for char in text
    ) > len(text)


def _gap(left: Line, right: Line) -> float:
    return left.x0 - right.x1 if left.rtl else right.x0 - left.x1


def _continues(line: Line, piece: Line) -> bool:
    if line.block or piece.block:
        return False
    if piece.joined and piece.order == line.order + 1:
        return True
    height = max(line.height, piece.height)
    beside = abs(line.middle - piece.middle) < 0.45 * height
    smaller = piece.height < 0.9 * line.height  # it may stand below raised text: in a fraction
    back = max(0.5 * height, piece.x1 - piece.x0 + 1 if smaller else 0.0)
    far = math.inf if line.text.endswith(_LEADERS) else 2.5 * height
    return not line.hyphen and beside and -back < _gap(line, piece) < far


def _extend(line: Line, piece: Line, following: Line | None, left_out: Counter[str]) -> None:
    """Append a piece to a line."""
    gap, text = _gap(line, piece), piece.text
    smaller = piece.height < 0.9 * line.height
    blank = (
        not -0.5 * line.height < gap < 0.15 * line.height or (piece.spaced and not smaller) or line.mark_after
    )
    mark = False
    if smaller and _is_raised(piece, line):
        near = gap < 0.3 * line.height
        mark = near and _is_mark(line.text, text, blank=blank, following=following)
        if near and not mark and _is_power(line.text, text):
            text, blank = f"^{text}", False
    elif line.height < 0.9 * piece.height and _is_raised(line, piece):
        if _BRACKETED_MARKS.fullmatch(line.text):  # a mark after the last word of the line above
            left_out["reference marks"] += count_characters(line.text)
            line.text = ""
        elif _RAISED_NUMBER.fullmatch(line.text) and not _ELEMENT.match(text):
            blank = line.labelled = True
    if mark:
        left_out["reference marks"] += count_characters(text)
        text = ""
    elif len(text) > len(line.text) or (line.height < 0.9 * piece.height and len(text) > 1):
        line.y, line.height, line.base = piece.y, piece.height, piece.base
    blank = blank and bool(line.text) and bool(text) and text[0] not in _CLOSING
    line.text += " " * blank + text
    line.wide = line.wide or piece.wide or gap > 1.5 * line.height
    line.x0, line.x1 = min(line.x0, piece.x0), max(line.x1, piece.x1)
    line.hyphen, line.order = piece.hyphen, piece.order
    line.mark_after = mark
    if not mark and piece.font != line.font:
        line.font = ""


def _is_raised(piece: Line, base: Line) -> bool:
    return piece.base - base.base > 0.1 * base.height


def _is_mark(before: str, raised: str, *, blank: bool, following: Line | None) -> bool:
    """Return whether raised text is a reference to a note rather than a power, an ordinal or an isotope."""
    if _BRACKETED_MARKS.fullmatch(raised):
        return True
    if not _NOTED.search(before) or not _RAISED_NUMBER.fullmatch(raised):
        return False
    if blank and following and following.joined and not following.spaced and _ELEMENT.match(following.text):
        return False  # ¹⁴C
    return not _is_power(before, raised)


def _is_power(before: str, raised: str) -> bool:
    """Return whether raised text is an exponent (or a charge) of what stands before it, by what that is."""
    if _SYMBOL.search(before) and (_RAISED_NUMBER.fullmatch(raised) or re.fullmatch("[a-z]", raised)):
        return True
    if not _EXPONENT.fullmatch(raised):
        return False
    if _SIGNED.fullmatch(raised):
        return True
    if before[-1].isdigit():
        return not _YEAR.search(before) or raised in ("2", "3")
    if raised in ("0", "1"):
        return False
    return bool((_UNIT.search(before) and raised in ("2", "3", "4")) or _FORMULA.search(before))
