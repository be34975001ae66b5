"""Give the lines of a PDF page in the order a person reads them: by place, not by when they were painted."""

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
_HYPHENS = (2, 0xFFFE)  # PDFium's marks for a hyphen at a line end, in place of both
# [12], [a], [note 3], with the page some encyclopedias add: [1]:163–167
_MARK = r"\[(?:\d{1,3}|[a-z]|(?:note|nb|Anm\.) ?\d+)\](?::\d+(?:[–-]\d+)?)?"
_MARK_AFTER_STOP = re.compile(rf"(?<=[.,;:!?)\]\"”’»。，、])\s?(?:{_MARK})+(?=\s|$)")
_RAISED_MARK = re.compile(rf"\s?(?:{_MARK})+")
_BOLD = re.compile(r"bold|black|heavy|CMBX", re.IGNORECASE)


@dataclass
class Line:
    """One visual line: its text and its box in points, y upwards, height taken from its tallest part."""

    text: str
    x0: float
    x1: float
    y: float
    height: float
    font: str = ""  # empty where the line begins in one font and ends in another
    hyphen: bool = False  # ended in a hyphen, which is not in text
    rtl: bool = False
    marked: bool = False  # a reference mark stood before text
    mark_after: bool = False
    aside: bool = False  # of a box or caption beside the running text
    heading: bool = False

    @property
    def bold(self) -> bool:
        """Tell by its font's name whether the line is bold: the weight is rarely given."""
        return _BOLD.search(self.font) is not None

    def beside(self, other: Line) -> bool:
        """Tell whether the two overlap in height and not in width."""
        apart = self.x1 <= other.x0 + 1 or other.x1 <= self.x0 + 1
        return apart and abs(self.y - other.y) < 0.6 * max(self.height, other.height)

    def overlaps(self, other: Line) -> bool:
        """Tell whether the two share a part of the page's width."""
        return min(self.x1, other.x1) - max(self.x0, other.x0) > 1


def page_lines(page: PdfPage) -> list[Line]:
    """Give the visual lines of a page in reading order, without reference marks.

    Raises PdfiumError where the page cannot be parsed.
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
        shown = [index for index in range(start, end) if chars[index] > 32 and chars[index] != 0xA0]
        start = end + 1
        if not shown:
            continue
        line = _line_of(chars, shown, box)
        line.hyphen = end < count and chars[end] in _HYPHENS
        font, last_font = (_font(textpage, index) for index in (shown[0], shown[-1]))
        line.font = font if font == last_font else ""
        if lines and _same_line(lines[-1], line):
            _extend(lines[-1], line)
        else:
            lines.append(line)
    textpage.close()
    return _in_reading_order([line for line in lines if line.text])


def median_height(lines: list[Line]) -> float:
    """Give the height of the body text: the median, long lines counting more."""
    return statistics.median(line.height for line in lines for _ in range(1 + len(line.text) // 8))


def _boxes(page: PdfPage, textpage: Any) -> Callable[[int], Box]:
    """Give a function from a character's index to its box on the page turned upright."""
    import pypdfium2.raw as raw

    turn, (width, height) = page.get_rotation(), page.get_size()
    rect = raw.FS_RECTF()

    def box(index: int) -> Box:
        raw.FPDFText_GetLooseCharBox(textpage, index, byref(rect))
        x0, x1, y0, y1 = rect.left, rect.right, rect.bottom, rect.top
        if turn == 90:
            x0, x1, y0, y1 = y0, y1, height - x1, height - x0
        elif turn == 180:
            x0, x1, y0, y1 = width - x1, width - x0, height - y1, height - y0
        elif turn == 270:
            x0, x1, y0, y1 = width - y1, width - y0, x0, x1
        return x0, x1, y0, y1 - y0

    return box


def _font(textpage: Any, index: int) -> str:
    import pypdfium2.raw as raw

    name = create_string_buffer(128)
    raw.FPDFText_GetFontInfo(textpage, index, name, len(name), None)
    return name.value.decode("utf-8", "replace").rpartition("+")[2]  # subsets: AAAAAB+Georgia, AAAAAC+Georgia


def _line_of(chars: list[int], shown: list[int], box: Callable[[int], Box]) -> Line:
    first, last = shown[0], shown[-1]
    # Surrogate halves come one by one on systems with 16-bit characters: passing through UTF-16 joins them.
    codes = b"".join(code.to_bytes(4, "little") for code in chars[first : last + 1])
    text = codes.decode("utf-32-le", "surrogatepass")
    text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    boxes = [box(index) for index in {first, shown[len(shown) // 2], last}]
    tall = max(boxes, key=lambda item: item[3])
    marked = mark_after = False
    if "[" in text and len(text) == last + 1 - first:
        # A mark set smaller than its line is a reference; x[1] in a line of code is not.
        for match in reversed(list(_RAISED_MARK.finditer(text))):
            at = first + match.start() + match.group().index("[")
            if box(at)[3] < 0.9 * tall[3] and len(match.group()) < len(text):
                marked = marked or match.start() == 0
                mark_after = mark_after or match.end() == len(text)
                text = text[: match.start()] + text[match.end() :]
    text = " ".join(_MARK_AFTER_STOP.sub("", text).replace("\xad", "").split())
    rtl = sum(unicodedata.bidirectional(char) in ("R", "AL") for char in text) * 2 > len(text)
    x0, x1 = min(item[0] for item in boxes), max(item[1] for item in boxes)
    return Line(text, x0, x1, tall[2], tall[3], rtl=rtl, marked=marked, mark_after=mark_after)


def _same_line(left: Line, right: Line) -> bool:
    """Tell whether a piece goes on the line before it: PDFium breaks a line at what is raised or lowered."""
    gap = left.x0 - right.x1 if left.rtl else right.x0 - left.x1
    tall = max(left.height, right.height)
    middle = left.y + left.height / 2, right.y + right.height / 2
    return not left.hyphen and -0.5 * tall < gap < 2.5 * tall and abs(middle[0] - middle[1]) < 0.45 * tall


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
    """FineTuneSpec lines as read. PDFs paint in an order that is mostly right: keep it, and mend two faults.

    Captions and boxes beside the text go to a paragraph's end, so that they do not stand in the
    middle of a sentence; what was painted late (headings, often) goes above what it stands above.
    """
    if not lines:
        return lines
    body = median_height(lines)
    _find_asides(lines, body)
    flow: list[Line] = []
    for line in lines:
        if line.aside:
            continue
        place = len(flow)
        if flow and line.y > flow[-1].y:
            below = (index for index, other in enumerate(flow) if other.y < line.y and other.overlaps(line))
            place = next(below, place)
        flow.insert(place, line)
    return _place_asides([line for line in lines if line.aside], flow, body)


def _find_asides(lines: list[Line], body: float) -> None:
    """Mark the lines of boxes and captions: narrow, of no larger type, beside lines that are wide."""
    width = max(line.x1 for line in lines) - min(line.x0 for line in lines)
    wide = [line for line in lines if line.x1 - line.x0 >= 0.4 * width]
    narrow = [line for line in lines if line.x1 - line.x0 < 0.4 * width]
    for line in narrow:
        line.aside = line.height < 1.1 * body and any(line.beside(other) for other in wide)
    # Lines of a box that happen to have nothing beside them belong to it all the same.
    for before, after in (*pairwise(narrow), *pairwise(reversed(narrow))):
        if before.aside and before.overlaps(after) and abs(before.y - after.y) < 2.5 * body:
            after.aside = True
    if sum(len(line.text) for line in narrow if line.aside) > 0.3 * sum(len(line.text) for line in lines):
        for line in narrow:
            line.aside = False  # columns, not a box


def _place_asides(asides: list[Line], flow: list[Line], body: float) -> list[Line]:
    """Put each box after the paragraph it stands beside, or, where that goes on overleaf, before it."""
    groups: list[list[Line]] = []
    for line in asides:
        if groups and groups[-1][-1].overlaps(line) and 0 < groups[-1][-1].y - line.y < 2.5 * body:
            groups[-1].append(line)
        else:
            groups.append([line])
    for group in groups:
        ends = [
            place
            for place in range(1, len(flow))
            if flow[place - 1].height < 1.1 * body
            and not flow[place].aside
            and (flow[place - 1].y - flow[place].y > 1.6 * body or flow[place].height >= 1.12 * body)
        ]
        whole = not flow or flow[-1].text.endswith((".", "!", "?", ":", "。"))
        last = len(flow) if whole or not ends else ends[-1]
        place = next((place for place in ends if flow[place].y < group[0].y), last)
        flow[place:place] = group
    return flow
