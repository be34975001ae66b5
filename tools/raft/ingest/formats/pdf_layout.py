"""Extract the lines of a PDF page in reading order, by position rather than by the order of painting."""

from __future__ import annotations

import re
import statistics
import unicodedata
from collections.abc import Callable
from ctypes import byref, create_string_buffer
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

Box = tuple[float, float, float, float]  # left, right, bottom, height

_LINE_ENDS = (10, 13, 2, 0xFFFE)
_HYPHENS = (2, 0xFFFE)  # PDFium's codes for a hyphen and the line end after it
# [12], [a], [note 3], with the page numbers that some encyclopedias add: [1]:163–167
_MARK = r"\[(?:\d{1,3}|[a-z]|(?:note|nb|Anm\.) ?\d+)\](?::\d+(?:[–-]\d+)?)?"
_MARK_AFTER_STOP = re.compile(rf"(?<=[.,;:!?)\]\"”’»。，、])\s?(?:{_MARK})+(?=\s|$)")
_RAISED_MARK = re.compile(rf"\s?(?:{_MARK})+")
_BOLD = re.compile(r"bold|black|heavy|CMBX", re.IGNORECASE)


@dataclass
class Line:
    """A visual line: its text and its box in points, y upwards, with the height of its tallest part."""

    text: str
    x0: float
    x1: float
    y: float
    height: float
    font: str = ""  # empty if the line begins and ends in different fonts
    hyphen: bool = False  # ended in a hyphen, which text does not include
    rtl: bool = False
    marked: bool = False  # a reference mark preceded text
    mark_after: bool = False  # a reference mark followed text
    aside: bool = False  # part of a box or caption beside the running text
    heading: bool = False

    @property
    def bold(self) -> bool:
        """Return whether the line is bold, by the name of its font: PDFs rarely state the weight."""
        return _BOLD.search(self.font) is not None

    def beside(self, other: Line) -> bool:
        """Return whether two lines are side by side: they overlap vertically and not horizontally."""
        apart = self.x1 <= other.x0 + 1 or other.x1 <= self.x0 + 1
        return apart and abs(self.y - other.y) < 0.6 * max(self.height, other.height)

    def overlaps(self, other: Line) -> bool:
        """Return whether two lines overlap horizontally."""
        return min(self.x1, other.x1) - max(self.x0, other.x0) > 1


def page_lines(page: PdfPage) -> list[Line]:
    """Return the visual lines of a page in reading order, without reference marks.

    Raises PdfiumError if the page cannot be parsed.
    """
    import pypdfium2.raw as raw

    textpage = page.get_textpage()
    count = textpage.count_chars()
    chars = [raw.FPDFText_GetUnicode(textpage, index) for index in range(count)]
    box = _boxes(page, textpage)
    lines: list[Line] = []
    start = 0
    for end in range(count + 1):
        if end < count and chars[end] not in _LINE_ENDS:
            continue
        visible = [index for index in range(start, end) if chars[index] > 32 and chars[index] != 0xA0]
        start = end + 1
        if not visible:
            continue
        line = _build_line(chars, visible, box)
        line.hyphen = end < count and chars[end] in _HYPHENS
        font, last_font = (_font(textpage, index) for index in (visible[0], visible[-1]))
        line.font = font if font == last_font else ""
        if lines and _same_line(lines[-1], line):
            _extend(lines[-1], line)
        else:
            lines.append(line)
    textpage.close()
    return _in_reading_order([line for line in lines if line.text])


def median_height(lines: list[Line]) -> float:
    """Compute the height of the body text: the median of the lines, weighted by their length."""
    return statistics.median(line.height for line in lines for _ in range(1 + len(line.text) // 8))


def _boxes(page: PdfPage, textpage: Any) -> Callable[[int], Box]:
    """Return a function from the index of a character to its box on the page turned upright."""
    import pypdfium2.raw as raw

    rotation, (width, height) = page.get_rotation(), page.get_size()
    rect = raw.FS_RECTF()

    def box(index: int) -> Box:
        raw.FPDFText_GetLooseCharBox(textpage, index, byref(rect))
        x0, x1, y0, y1 = rect.left, rect.right, rect.bottom, rect.top
        if rotation == 90:
            x0, x1, y0, y1 = y0, y1, height - x1, height - x0
        elif rotation == 180:
            x0, x1, y0, y1 = width - x1, width - x0, height - y1, height - y0
        elif rotation == 270:
            x0, x1, y0, y1 = width - y1, width - y0, x0, x1
        return x0, x1, y0, y1 - y0

    return box


def _font(textpage: Any, index: int) -> str:
    import pypdfium2.raw as raw

    name = create_string_buffer(128)
    raw.FPDFText_GetFontInfo(textpage, index, name, len(name), None)
    # Subsets of a font have a prefix: AAAAAB+Georgia, AAAAAC+Georgia.
    return name.value.decode("utf-8", "replace").rpartition("+")[2]


def _build_line(chars: list[int], visible: list[int], box: Callable[[int], Box]) -> Line:
    first, last = visible[0], visible[-1]
    # On systems with 16-bit characters surrogates come as two codes; a round trip through UTF-16 joins them.
    codes = b"".join(code.to_bytes(4, "little") for code in chars[first : last + 1])
    text = codes.decode("utf-32-le", "surrogatepass")
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    boxes = [box(index) for index in {first, visible[len(visible) // 2], last}]
    tallest = max(boxes, key=lambda item: item[3])
    marked = mark_after = False
    if "[" in text and len(text) == last + 1 - first:
        # A mark in smaller type than its line is a reference; x[1] in a line of code is not.
        for match in reversed(list(_RAISED_MARK.finditer(text))):
            bracket = first + match.start() + match.group().index("[")
            if box(bracket)[3] < 0.9 * tallest[3] and len(match.group()) < len(text):
                marked = marked or match.start() == 0
                mark_after = mark_after or match.end() == len(text)
                text = text[: match.start()] + text[match.end() :]
    text = " ".join(_MARK_AFTER_STOP.sub("", text).replace("\xad", "").split())
    rtl = sum(unicodedata.bidirectional(char) in ("R", "AL") for char in text) * 2 > len(text)
    x0, x1 = min(item[0] for item in boxes), max(item[1] for item in boxes)
    return Line(text, x0, x1, tallest[2], tallest[3], rtl=rtl, marked=marked, mark_after=mark_after)


def _same_line(left: Line, right: Line) -> bool:
    """Return whether `right` continues the line `left`: PDFium breaks a line at raised or lowered text."""
    gap = left.x0 - right.x1 if left.rtl else right.x0 - left.x1
    height = max(left.height, right.height)
    shift = abs(left.y + left.height / 2 - (right.y + right.height / 2))
    return not left.hyphen and -0.5 * height < gap < 2.5 * height and shift < 0.45 * height


def _extend(line: Line, piece: Line) -> None:
    gap = line.x0 - piece.x1 if line.rtl else piece.x0 - line.x1
    mark = _RAISED_MARK.match(piece.text) if piece.height < 0.9 * line.height else None
    text = piece.text[mark.end() :].lstrip() if mark else piece.text
    spaced = mark or piece.marked or line.mark_after or gap > 0.15 * line.height
    blank = " " if spaced and text[:1] not in tuple(".,;:!?)") else ""
    line.text = _MARK_AFTER_STOP.sub("", (line.text + (blank if text else "") + text).strip())
    if piece.height > line.height:
        line.y, line.height = piece.y, piece.height
    line.x0, line.x1 = min(line.x0, piece.x0), max(line.x1, piece.x1)
    line.hyphen = piece.hyphen
    line.mark_after = piece.mark_after or (mark is not None and not text)
    if not mark and piece.font != line.font:
        line.font = ""


def _in_reading_order(lines: list[Line]) -> list[Line]:
    """Sort lines into reading order: the order of painting, which is mostly right, with two corrections.

    Captions and boxes beside the text move to the end of a paragraph, so that they do not interrupt a
    sentence; lines painted late (often headings) move before the lines below them.
    """
    if not lines:
        return lines
    body = median_height(lines)
    _find_asides(lines, body)
    flow: list[Line] = []
    for line in lines:
        if line.aside:
            continue
        position = len(flow)
        if flow and line.y > flow[-1].y:
            below = (index for index, other in enumerate(flow) if other.y < line.y and other.overlaps(line))
            position = next(below, position)
        flow.insert(position, line)
    return _place_asides([line for line in lines if line.aside], flow, body)


def _find_asides(lines: list[Line], body: float) -> None:
    """Mark the lines of boxes and captions, in place: narrow, not in larger type, beside wide lines."""
    width = max(line.x1 for line in lines) - min(line.x0 for line in lines)
    wide = [line for line in lines if line.x1 - line.x0 >= 0.4 * width]
    narrow = [line for line in lines if line.x1 - line.x0 < 0.4 * width]
    for line in narrow:
        line.aside = line.height < 1.1 * body and any(line.beside(other) for other in wide)
    # A line of a box belongs to it even if there is no line beside it.
    for before, after in (*pairwise(narrow), *pairwise(reversed(narrow))):
        if before.aside and before.overlaps(after) and abs(before.y - after.y) < 2.5 * body:
            after.aside = True
    if sum(len(line.text) for line in narrow if line.aside) > 0.3 * sum(len(line.text) for line in lines):
        for line in narrow:
            line.aside = False  # columns, not a box


def _place_asides(asides: list[Line], flow: list[Line], body: float) -> list[Line]:
    """Insert each box after the paragraph beside it, or before it if that continues on the next page."""
    groups: list[list[Line]] = []
    for line in asides:
        if groups and groups[-1][-1].overlaps(line) and 0 < groups[-1][-1].y - line.y < 2.5 * body:
            groups[-1].append(line)
        else:
            groups.append([line])
    for group in groups:
        ends = [
            index
            for index in range(1, len(flow))
            if flow[index - 1].height < 1.1 * body
            and not flow[index].aside
            and (flow[index - 1].y - flow[index].y > 1.6 * body or flow[index].height >= 1.12 * body)
        ]
        complete = not flow or flow[-1].text.endswith((".", "!", "?", ":", "。"))
        last = len(flow) if complete or not ends else ends[-1]
        position = next((index for index in ends if flow[index].y < group[0].y), last)
        flow[position:position] = group
    return flow
