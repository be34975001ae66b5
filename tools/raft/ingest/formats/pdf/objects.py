"""Look at what a PDF page paints: pictures, ruling lines, and text that nobody can see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from ctypes import byref, c_float, c_int, c_uint, c_void_p, cast
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

Rect = tuple[float, float, float, float]  # left, bottom, right, top in points, in the coordinates of the file
Matrix = tuple[float, float, float, float, float, float]

_MAX_OBJECTS = 50_000  # a map or a construction drawing has more: neither tables nor hidden text are sought
_MAX_DEPTH = 10  # of forms within forms
_MAX_SEGMENTS = 2_000  # of a path; a longer one is a drawing
_IDENTITY: Matrix = (1, 0, 0, 1, 0, 0)


@dataclass
class PageObjects:
    """What a page paints besides readable text."""

    pictures: list[Rect] = field(default_factory=list)
    rules: list[Rect] = field(default_factory=list)  # horizontal and vertical lines, as flat boxes
    paths: int = 0
    texts: int = 0
    faint: set[int] = field(default_factory=set)  # addresses of text that may be invisible
    unpainted: set[int] = field(default_factory=set)  # of text that is not painted, as the text of scans


def turned(rect: Rect, angle: int) -> Rect:
    """Return the box of what is turned to the left by `angle` degrees as if the page was turned back."""
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    return _apply((cos, -sin, sin, cos, 0, 0), rect) if angle else rect


def page_objects(page: PdfPage) -> PageObjects:
    """Collect the pictures, ruling lines and possibly invisible texts of a page."""
    import pypdfium2.raw as raw

    found = PageObjects()
    for count, (item, matrix) in enumerate(_walk(page)):
        if count == _MAX_OBJECTS:
            return PageObjects(found.pictures, paths=found.paths)
        kind = raw.FPDFPageObj_GetType(item)
        if kind == raw.FPDF_PAGEOBJ_IMAGE:
            found.pictures.append(_apply(matrix, _bounds(item)))
        elif kind == raw.FPDF_PAGEOBJ_PATH:
            found.paths += 1
            found.rules += _rules(item, matrix)
        elif kind == raw.FPDF_PAGEOBJ_TEXT:
            found.texts += 1
            if _is_unpainted(item):
                found.unpainted.add(address(item))
            elif _is_faint(item):
                found.faint.add(address(item))
    return found


def address(item: Any) -> int:
    """Return the address of an object of PDFium, by which it is recognised."""
    return cast(item, c_void_p).value or 0


def around(boxes: list[Rect]) -> Rect:
    """Return the box around boxes."""
    lefts, bottoms, rights, tops = zip(*boxes, strict=True)
    return min(lefts), min(bottoms), max(rights), max(tops)


def _walk(page: PdfPage) -> Iterator[tuple[Any, Matrix]]:
    """Return the objects of a page and of the forms that it paints, each with the matrix of its form."""
    import pypdfium2.raw as raw

    pending: list[tuple[Any, Matrix, int]] = []
    for index in range(raw.FPDFPage_CountObjects(page)):
        pending.append((raw.FPDFPage_GetObject(page, index), _IDENTITY, 0))
        while pending:
            item, matrix, depth = pending.pop()
            yield item, matrix
            if raw.FPDFPageObj_GetType(item) == raw.FPDF_PAGEOBJ_FORM and depth < _MAX_DEPTH:
                inner = _multiply(_matrix(item), matrix)
                children = range(min(raw.FPDFFormObj_CountObjects(item), _MAX_OBJECTS))
                pending += [(raw.FPDFFormObj_GetObject(item, child), inner, depth + 1) for child in children]


def _rules(path: Any, matrix: Matrix) -> Iterator[Rect]:
    """Return the horizontal and vertical lines of a path, those around a filled rectangle included."""
    import pypdfium2.raw as raw

    fill, stroke = c_int(), c_int()
    raw.FPDFPath_GetDrawMode(path, byref(fill), byref(stroke))
    count = raw.FPDFPath_CountSegments(path)
    if count > _MAX_SEGMENTS or not (stroke.value or (fill.value and not _is_white(path))):
        return
    a, b, c, d, e, f = _multiply(_matrix(path), matrix)
    points: list[tuple[float, float]] = []
    lines: list[Rect] = []
    x, y = c_float(), c_float()
    for index in range(count):
        segment = raw.FPDFPath_GetPathSegment(path, index)
        raw.FPDFPathSegment_GetPoint(segment, byref(x), byref(y))
        point = a * x.value + c * y.value + e, b * x.value + d * y.value + f
        if raw.FPDFPathSegment_GetType(segment) == raw.FPDF_SEGMENT_MOVETO:
            points = [point]
            continue
        if raw.FPDFPathSegment_GetType(segment) == raw.FPDF_SEGMENT_LINETO:
            lines.append(_hull(points[-1], point) if points else (*point, *point))
        points.append(point)
        if raw.FPDFPathSegment_GetClose(segment):
            lines.append(_hull(point, points[0]))
    if fill.value and not stroke.value and lines:  # a line may be painted as a thin rectangle
        x0, y0, x1, y1 = around(lines)
        if y1 - y0 < 3:
            lines = [(x0, (y0 + y1) / 2, x1, (y0 + y1) / 2)]
        elif x1 - x0 < 3:
            lines = [((x0 + x1) / 2, y0, (x0 + x1) / 2, y1)]
    for x0, y0, x1, y1 in lines:
        if (y1 - y0 < 1 or x1 - x0 < 1) and max(x1 - x0, y1 - y0) > 5:
            yield x0, y0, x1, y1


def _is_faint(text: Any) -> bool:
    """Return whether text may be invisible: white, transparent, or on a layer."""
    import pypdfium2.raw as raw

    if _is_white(text):
        return True
    marks = (raw.FPDFPageObj_GetMark(text, index) for index in range(raw.FPDFPageObj_CountMarks(text)))
    # Only the mark of a layer has a dictionary with a name.
    return any(
        raw.FPDFPageObjMark_GetParamValueType(mark, b"Name") == raw.FPDF_OBJECT_STRING for mark in marks
    )


def _is_unpainted(text: Any) -> bool:
    import pypdfium2.raw as raw

    mode: int = raw.FPDFTextObj_GetTextRenderMode(text)
    return mode in (raw.FPDF_TEXTRENDERMODE_INVISIBLE, raw.FPDF_TEXTRENDERMODE_CLIP)


def _is_white(item: Any) -> bool:
    import pypdfium2.raw as raw

    red, green, blue, alpha = c_uint(), c_uint(), c_uint(), c_uint()
    raw.FPDFPageObj_GetFillColor(item, byref(red), byref(green), byref(blue), byref(alpha))
    return alpha.value < 16 or min(red.value, green.value, blue.value) > 240


def _bounds(item: Any) -> Rect:
    import pypdfium2.raw as raw

    x0, y0, x1, y1 = c_float(), c_float(), c_float(), c_float()
    raw.FPDFPageObj_GetBounds(item, byref(x0), byref(y0), byref(x1), byref(y1))
    return x0.value, y0.value, x1.value, y1.value


def _matrix(item: Any) -> Matrix:
    import pypdfium2.raw as raw

    matrix = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(item, byref(matrix))
    return matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f


def _multiply(left: Matrix, right: Matrix) -> Matrix:
    """Return the matrix that applies `left`, then `right` (ISO 32000-1, 8.3.4)."""
    a, b, c, d, e, f = left
    m, n, o, p, q, r = right
    return a * m + b * o, a * n + b * p, c * m + d * o, c * n + d * p, e * m + f * o + q, e * n + f * p + r


def _apply(matrix: Matrix, rect: Rect) -> Rect:
    """Return the box around the transformed corners of a box."""
    a, b, c, d, e, f = matrix
    x0, y0, x1, y1 = rect
    xs = [a * x + c * y + e for x in (x0, x1) for y in (y0, y1)]
    ys = [b * x + d * y + f for x in (x0, x1) for y in (y0, y1)]
    return min(xs), min(ys), max(xs), max(ys)


def _hull(start: tuple[float, float], end: tuple[float, float]) -> Rect:
    (x0, y0), (x1, y1) = start, end
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
