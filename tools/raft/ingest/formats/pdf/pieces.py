"""Extract the pieces of text of a PDF page: runs of characters of one size, with their boxes, as painted."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from ctypes import byref, c_double, c_ushort, create_string_buffer
from functools import lru_cache
from itertools import groupby, pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from ..parsed import count_characters
from .lines import Line, is_rtl

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

# PDFium ends a line with \r\n, or with one of two codes where a hyphen divides a word.
_PAINTED_LINE = re.compile("[^\n\r\x02\ufffe]+")
_HYPHENS = ("\x02", "\ufffe")
_WORD = re.compile("[^\x00-\x20\xa0]+")
_NUMBER = re.compile(r"\d{1,4}")
_PART_RAISED = re.compile(r"[\d\[]")  # in 10⁵, m², bread[12]
_WIDE_GAP = 0.7  # of the height: more than a blank in a justified line mostly is
_TURNED_GAP = 0.25  # of the height: a blank
_ASKEW = 7  # degrees by which a scanned page may be turned


# The box of a character in points: left, right, bottom (y upwards) and height, as high as its font and as if
# the text stood upright.
Box = tuple[float, float, float, float]

_NOWHERE: Box = (0.0, 0.0, 0.0, 1.0)  # of a character with impossible numbers


class _Word(NamedTuple):
    """A word, or a part of it in one size: its place in the text of the page, and its box."""

    start: int
    end: int
    box: Box
    angle: int = 0


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
        runs = _split_line(text, _split_words(text, spans, handle)) if spans else ()
        before: Line | None = None
        for run in runs:
            piece = _build_piece(text, run, handle)
            piece.order = len(pieces)
            piece.joined = before is not None and _in_line(before, piece)
            if piece.text:
                pieces.append(piece)
                before = piece
        if before:
            before.hyphen = text[match.end() : match.end() + 1] in _HYPHENS
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
    if not math.isfinite(degrees):
        return 0
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
        bottom = rect.bottom
        return rect.left, rect.right, bottom, rect.top - bottom

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
        return min(corners), max(corners), base - 0.21 * size, 1.17 * size

    return box


def _in_line(before: Line, piece: Line) -> bool:
    return before.angle == piece.angle and abs(before.base - piece.base) < max(before.height, piece.height)


def _split_words(text: str, spans: list[tuple[int, int]], handle: Any) -> list[_Word]:
    """Return the words of a line with their boxes, divided where their size or direction changes."""
    angle = _angle(handle, spans[0][0])
    if not angle and (words := _upright_words(text, spans, handle)):
        return words
    words = []
    for start, end in spans:
        for angle, indices in groupby(range(start, end), key=lambda index: _angle(handle, index)):
            box = _turned_box(handle, angle) if angle else _upright_box(handle)
            words += _split_boxes([(index, box(index)) for index in indices], angle)
    return words


def _upright_words(text: str, spans: list[tuple[int, int]], handle: Any) -> list[_Word]:
    """Return the words of a line with their boxes; none if some of them are turned.

    This is where most of the time goes: a word takes the boxes of two of its characters, unless its size
    changes or part of it may be raised.
    """
    box = _upright_box(handle)
    words: list[_Word] = []
    height = 0.0
    for start, end in spans:
        first, last = box(start), box(end - 1)
        if abs(first[3] - height) > 0.01 * height:
            if words and _angle(handle, end - 1):
                return []
            height = first[3]
        if not _same_size(first, last) or (end - start > 1 and _PART_RAISED.search(text, start, end)):
            words += _split_boxes([(index, box(index)) for index in range(start, end)], 0)
        else:
            words.append(_Word(start, end, (min(first[0], last[0]), max(first[1], last[1]), *first[2:])))
    return words


def _split_boxes(boxes: list[tuple[int, Box]], angle: int) -> Iterator[_Word]:
    """Split a word by the boxes of its characters, at the index of each.

    Between turned words PDFium sets no blanks: they are divided at gaps.
    """
    part = 0
    for position in range(1, len(boxes) + 1):
        if position < len(boxes):
            box, before = boxes[position][1], boxes[position - 1][1]
            gap = angle and abs(box[0] - before[1]) > _TURNED_GAP * box[3]
            if not gap and _same_size(box, boxes[part][1]):
                continue
        (start, first), (last, end) = boxes[part], boxes[position - 1]
        yield _Word(start, last + 1, (min(first[0], end[0]), max(first[1], end[1]), *first[2:]), angle)
        part = position


def _same_size(box: Box, other: Box) -> bool:
    """Return whether two boxes are of the same size and on the same base line."""
    tolerance = 0.13 * box[3]
    return abs(box[3] - other[3]) < tolerance and abs(box[2] - other[2]) < tolerance


def _split_line(text: str, words: list[_Word]) -> Iterator[list[_Word]]:
    """Split a line at wide gaps and where the size or direction changes; numbers at its ends stand alone."""
    numbers = [index for index in (0, len(words) - 1) if _NUMBER.fullmatch(text, *words[index][:2])]
    run = [words[0]]
    for index, (before, word) in enumerate(pairwise(words), start=1):
        gap = max(word.box[0] - before.box[1], before.box[0] - word.box[1])
        height = word.box[3]
        apart = gap > _WIDE_GAP * height or (before.end == word.start and gap > _TURNED_GAP * height)
        number = index in numbers or index - 1 in numbers
        if apart or number or before.angle != word.angle or not _same_size(word.box, run[0].box):
            yield run
            run = []
        run.append(word)
    yield run


def _build_piece(text: str, words: list[_Word], handle: Any) -> Line:
    start, end, angle = words[0].start, words[-1].end, words[0].angle
    content = text[start:end]
    if not content.isascii():
        # Where PDFium has 16-bit characters surrogates come as two codes; this joins them.
        content = content.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    boxes = [word.box if all(map(math.isfinite, word.box)) else _NOWHERE for word in words]
    # A tall glyph may stick out of the box of its font: the lowest box is the right one.
    _, _, y, height = min(boxes, key=itemgetter(3))
    font, last_font = _font(handle, start), _font(handle, end - 1)
    content = " ".join(content.replace("\xad", "").split())
    return Line(
        text=content,
        rtl=is_rtl(content),
        x0=min(box[0] for box in boxes),
        x1=max(box[1] for box in boxes),
        y=y,
        height=height,
        font=font if font == last_font else "",
        base=_base(handle, start, angle),
        angle=angle,
        spaced=start > 0 and text[start - 1] in " \xa0\t",
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
