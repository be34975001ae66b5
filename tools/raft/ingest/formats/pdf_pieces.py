"""Extract the pieces of text of a PDF page: runs of characters of one size, with their boxes, as painted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from ctypes import byref, c_double, c_ushort, create_string_buffer
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from .parsed import count_characters
from .pdf_lines import Line

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

# PDFium ends a line with \r\n, or with one of two codes where a hyphen divides a word.
_PAINTED_LINE = re.compile("[^\n\r\x02\ufffe]+")
_HYPHENS = ("\x02", "\ufffe")
_WORD = re.compile("[^\x00-\x20\xa0]+")
_NUMBER = re.compile(r"\d{1,4}")
_PART_RAISED = re.compile(r"[\d\[]")  # in 10⁵, m², bread[12]
_WIDE_GAP = 0.7  # of the height: more than a blank in a justified line mostly is
_ASKEW = 7  # degrees by which a scanned page may be turned


class Box(NamedTuple):
    """The box of a character in points, as high as its font, y upwards, as if the text stood upright."""

    x0: float
    x1: float
    y: float
    height: float

    def same_size(self, other: Box) -> bool:
        """Return whether two boxes are of the same size and on the same base line."""
        larger = max(self.height, other.height)
        return abs(self.height - other.height) < 0.12 * larger and abs(self.y - other.y) < 0.12 * larger


class _Word(NamedTuple):
    """A word, or a part of it in one size: its place in the text of the page, and its box."""

    start: int
    end: int
    box: Box


def extract_pieces(page: PdfPage, clean: Callable[[Any, str], str]) -> tuple[list[Line], int]:
    """Return the pieces of a page in the order of painting, and the number of its letters and digits.

    A piece ends at a wide gap and where the size changes; a number at the begin or end of a line is a piece
    of its own. `clean` gets PDFium's page of text and the text, and blanks what is none.
    Raises PdfiumError if the page cannot be parsed.
    """
    textpage = page.get_textpage()
    handle = textpage.raw
    text = _page_text(handle)
    seen = count_characters(text)
    text = clean(textpage, text)
    pieces: list[Line] = []
    for match in _PAINTED_LINE.finditer(text):
        spans = [word.span() for word in _WORD.finditer(text, *match.span())]
        if not spans:
            continue
        angle = _angle(handle, spans[0][0])
        box = _turned_box(handle, angle) if angle else _upright_box(handle)
        words = [word for span in spans for word in _split_word(text, span, box)]
        for number, run in enumerate(_split_line(text, words)):
            piece = _build_piece(text, run, handle)
            piece.angle, piece.order, piece.joined = angle, len(pieces), number > 0
            piece.base = _base(handle, run[0].start, angle)
            pieces.append(piece)
        pieces[-1].hyphen = text[match.end() : match.end() + 1] in _HYPHENS
    textpage.close()
    return pieces, seen


def _page_text(handle: Any) -> str:
    """Return the text of a page with one element for each of PDFium's characters."""
    import pypdfium2.raw as raw

    count = raw.FPDFText_CountChars(handle)
    buffer = (c_ushort * (count + 1))()
    if raw.FPDFText_GetText(handle, 0, count, buffer) == count + 1:
        return "".join(map(chr, buffer[:count]))
    # Characters that take two codes in UTF-16, or none, would shift those after them.
    return "".join(chr(raw.FPDFText_GetUnicode(handle, index)) for index in range(count))


def _angle(handle: Any, index: int) -> int:
    """Return by how many degrees a character is turned to the left: 0 to 355, in steps of 5."""
    import pypdfium2.raw as raw

    degrees = -math.degrees(raw.FPDFText_GetCharAngle(handle, index)) % 360  # PDFium counts to the right
    upright = round(degrees / 90) * 90
    return upright % 360 if abs(degrees - upright) < _ASKEW else round(degrees / 5) * 5 % 360


def _base(handle: Any, index: int, angle: int) -> float:
    """Return the height of the base line of a character, as if it stood upright."""
    import pypdfium2.raw as raw

    x, y = c_double(), c_double()
    raw.FPDFText_GetCharOrigin(handle, index, byref(x), byref(y))
    return y.value * math.cos(math.radians(angle)) - x.value * math.sin(math.radians(angle))


def _upright_box(handle: Any) -> Callable[[int], Box]:
    """Return a function from the index of a character to its box."""
    import pypdfium2.raw as raw

    rect = raw.FS_RECTF()
    reference, get_box = byref(rect), raw.FPDFText_GetLooseCharBox

    def box(index: int) -> Box:
        get_box(handle, index, reference)
        return Box(rect.left, rect.right, rect.bottom, rect.top - rect.bottom)

    return box


def _turned_box(handle: Any, angle: int) -> Callable[[int], Box]:
    """Return a function from the index of a turned character to the box that it has once turned upright.

    PDFium's boxes with the height of the font are right for upright text only.
    """
    import pypdfium2.raw as raw

    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    left, right, bottom, top = (c_double() for _ in range(4))
    matrix = raw.FS_MATRIX()

    def box(index: int) -> Box:
        raw.FPDFText_GetCharBox(handle, index, byref(left), byref(right), byref(bottom), byref(top))
        raw.FPDFText_GetMatrix(handle, index, byref(matrix))
        size = raw.FPDFText_GetFontSize(handle, index) * math.hypot(matrix.a, matrix.b)
        corners = [h.value * cos + v.value * sin for h in (left, right) for v in (bottom, top)]
        base = _base(handle, index, angle)
        # Descent and height of a usual font. A diagonal box is larger than its glyph.
        return Box(min(corners), max(corners), base - 0.21 * size, 1.17 * size)

    return box


def _split_word(text: str, span: tuple[int, int], box: Callable[[int], Box]) -> Iterator[_Word]:
    """Split a word where the size or the base line changes: at raised and lowered parts, after an initial."""
    start, end = span
    first, last = box(start), box(end - 1)
    if end - start == 1:
        yield _Word(start, end, first)
    elif first.same_size(last) and not _PART_RAISED.search(text, start, end):
        yield _Word(start, end, _unite(first, last))
    else:
        boxes = [box(index) for index in range(start, end)]
        part = 0
        for index in range(1, len(boxes) + 1):
            if index == len(boxes) or not boxes[index].same_size(boxes[part]):
                united = _unite(boxes[part], boxes[index - 1])
                yield _Word(start + part, start + index, united)
                part = index


def _unite(first: Box, last: Box) -> Box:
    return Box(min(first.x0, last.x0), max(first.x1, last.x1), first.y, first.height)


def _split_line(text: str, words: list[_Word]) -> Iterator[list[_Word]]:
    run = [words[0]]
    for index in range(1, len(words)):
        before, word = words[index - 1], words[index]
        gap = max(word.box.x0 - before.box.x1, before.box.x0 - word.box.x1)
        number = (index == 1 and _NUMBER.fullmatch(text, before.start, before.end)) or (
            index == len(words) - 1 and _NUMBER.fullmatch(text, word.start, word.end)
        )
        if number or gap > _WIDE_GAP * word.box.height or not word.box.same_size(run[0].box):
            yield run
            run = []
        run.append(word)
    yield run


def _build_piece(text: str, words: list[_Word], handle: Any) -> Line:
    first, last = words[0], words[-1]
    # Where PDFium has 16-bit characters surrogates come as two codes; a round trip through UTF-16 joins them.
    raw_text = (
        text[first.start : last.end].encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    )
    x0, x1 = min(word.box.x0 for word in words), max(word.box.x1 for word in words)
    # A tall glyph may stick out of the box of its font: the lowest box is the right one.
    lowest = min((word.box for word in words), key=lambda box: box.height)
    font, last_font = _font(handle, first.start), _font(handle, last.end - 1)
    return Line(
        text=" ".join(raw_text.replace("\xad", "").split()),
        x0=x0,
        x1=x1,
        y=lowest.y,
        height=lowest.height,
        font=font if font == last_font else "",
        spaced=first.start > 0 and text[first.start - 1] in " \xa0\t",
    )


def _font(handle: Any, index: int) -> str:
    import pypdfium2.raw as raw

    name = create_string_buffer(128)
    raw.FPDFText_GetFontInfo(handle, index, name, 128, None)
    return _font_family(name.value)


@lru_cache(maxsize=1000)
def _font_family(name: bytes) -> str:
    """Return the name of a font without the prefix of a subset: AAAAAB+Georgia, AAAAAC+Georgia."""
    return name.decode("utf-8", "replace").rpartition("+")[2]
