"""Read what stands on a PDF page but is not painted by it: values of form fields, typed notes, comments."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import byref, c_ushort
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from ..parsed import count_characters
from .lines import Line
from .objects import Rect, turned

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_MAX_ANNOTATIONS = 20_000  # of a page
_MAX_VALUE = 1_000_000  # bytes of a field's value
_PASSWORD = 1 << 13  # flag of a text field (ISO 32000-1, table 228)
_CHECKED, _UNCHECKED = "\u2612", "\u2610"


class FieldText(NamedTuple):
    """A value that a form field shows, or a text typed onto the page, and its place."""

    text: str
    rect: Rect
    box: bool = False  # a check box or a radio button


class Annotations(NamedTuple):
    """What the annotations of a page say."""

    texts: list[FieldText]
    left_out: Counter[str]  # characters, by reason
    attachments: int = 0


def read_annotations(page: PdfPage, textpage: Any) -> Annotations:
    """Return the values of the fields and the typed notes of a page, and count its comments."""
    import pypdfium2.raw as raw

    found, attachments = Annotations([], Counter()), 0
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        with _annotation(page, index) as annotation:
            kind = raw.FPDFAnnot_GetSubtype(annotation)
            if kind in (raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP, raw.FPDF_ANNOT_UNKNOWN):
                continue  # the text of a pop-up is that of its comment
            text, box, secret = _value(page, annotation, kind)
            rect = raw.FS_RECTF()
            raw.FPDFAnnot_GetRect(annotation, byref(rect))
            place = rect.left, rect.bottom, rect.right, rect.top
            flags = raw.FPDFAnnot_GetFlags(annotation)
            if secret or flags & (raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW):
                found.left_out["hidden text"] += count_characters(text)
            elif kind not in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT):
                found.left_out["comments"] += count_characters(text)
                attachments += kind == raw.FPDF_ANNOT_FILEATTACHMENT
            elif text and not _is_painted(textpage, text, place):
                found.texts.append(FieldText(text, place, box))
    return found._replace(attachments=attachments)


@contextmanager
def _annotation(page: PdfPage, index: int) -> Iterator[Any]:
    import pypdfium2.raw as raw

    annotation = raw.FPDFPage_GetAnnot(page, index)
    try:
        yield annotation
    finally:
        raw.FPDFPage_CloseAnnot(annotation)


def _value(page: PdfPage, annotation: Any, kind: int) -> tuple[str, bool, bool]:
    """Return the text of an annotation, whether it is a box to tick, and whether its text is a secret."""
    import pypdfium2.raw as raw

    if kind != raw.FPDF_ANNOT_WIDGET:
        return _string(raw.FPDFAnnot_GetStringValue, annotation, b"Contents"), False, False
    form = page.formenv
    if form is None:
        return "", False, False
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in (raw.FPDF_FORMFIELD_CHECKBOX, raw.FPDF_FORMFIELD_RADIOBUTTON):
        return _CHECKED if raw.FPDFAnnot_IsChecked(form, annotation) else _UNCHECKED, True, False
    if kind in (raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX):
        chosen = [
            _string(raw.FPDFAnnot_GetOptionLabel, form, annotation, option)
            for option in range(min(raw.FPDFAnnot_GetOptionCount(form, annotation), 1000))
            if raw.FPDFAnnot_IsOptionSelected(form, annotation, option)
        ]
        if chosen:
            return ", ".join(chosen), False, False
    elif kind != raw.FPDF_FORMFIELD_TEXTFIELD:
        return "", False, False  # buttons and signatures
    flags = raw.FPDFAnnot_GetFormFieldFlags(form, annotation)
    secret = kind == raw.FPDF_FORMFIELD_TEXTFIELD and bool(flags & _PASSWORD)
    return _string(raw.FPDFAnnot_GetFormFieldValue, form, annotation), False, secret


def _string(function: Any, *arguments: Any) -> str:
    """Call a function of PDFium that writes UTF-16 into a buffer."""
    size = min(function(*arguments, None, 0), _MAX_VALUE)
    buffer = (c_ushort * (size // 2 + 1))()
    function(*arguments, buffer, size)
    text = bytes(buffer)[:size].decode("utf-16-le", "replace").split("\x00")[0]
    return "\n".join(text.splitlines()).strip()


def _is_painted(textpage: Any, text: str, rect: Rect) -> bool:
    """Return whether the page itself shows the text at that place already."""
    x0, y0, x1, y1 = rect
    painted = textpage.get_text_bounded(x0 - 2, y0 - 2, x1 + 2, y1 + 2)
    return "".join(text.split()) in "".join(painted.split())


def field_pieces(fields: list[FieldText], pieces: list[Line], angle: int) -> list[Line]:
    """Return a piece for each line of each field, in type as high as that beside it."""
    body = statistics.median_low(piece.height for piece in pieces) if pieces else 12.0
    found: list[Line] = []
    for text, rect, _ in fields:
        x0, y0, x1, y1 = turned(rect, angle)
        lines = text.split("\n")
        for number, line in enumerate(lines):
            middle = (y0 + y1) / 2 if len(lines) == 1 else y1 - body * (number + 0.5)
            beside = [piece for piece in pieces if abs(piece.middle - middle) < 0.5 * piece.height]
            nearest = min(beside, key=lambda piece: abs(piece.x0 - x0), default=None)
            found.append(
                Line(
                    text=line.strip(),
                    x0=x0,
                    x1=x1,
                    y=nearest.y if nearest else middle - body / 2,
                    base=nearest.base if nearest else middle - 0.3 * body,
                    height=nearest.height if nearest else body,
                    order=len(pieces) + len(found),
                    spaced=True,
                )
            )
    return [piece for piece in found if piece.text]


def attach_fields(fields: list[Line], pieces: list[Line]) -> list[Line]:
    """Return the pieces of a page with those of its fields after their labels, or before them for boxes.

    Sets the order of all pieces anew. A field without a label beside it comes last.
    """
    if not fields:
        return pieces
    ordered = sorted(pieces, key=lambda piece: piece.order)
    for previous, piece in pairwise(ordered):
        piece.joined = piece.joined and piece.order == previous.order + 1
    for field in sorted(fields, key=lambda piece: (-piece.middle, piece.x0)):
        row = [piece for piece in ordered if abs(piece.middle - field.middle) < 0.5 * piece.height]
        before = [piece for piece in row if piece.x0 < field.x0 and not piece.block]
        after = [piece for piece in row if piece.x0 >= field.x1 - 3 and not piece.block]
        if field.text in (_CHECKED, _UNCHECKED) and after:
            label = min(after, key=lambda piece: piece.x0)
            field.joined, label.joined, label.spaced = label.joined, True, True
            ordered.insert(ordered.index(label), field)
        elif before:
            label = max(before, key=lambda piece: piece.x0)
            field.joined = True
            width = field.x1 - field.x0
            field.x0 = label.x1 + 0.3 * label.height
            field.x1 = min(field.x0 + width, min((piece.x0 for piece in after), default=field.x1))
            ordered.insert(ordered.index(label) + 1, field)
        else:
            ordered.append(field)
    for order, piece in enumerate(ordered):
        piece.order = order
    return ordered
