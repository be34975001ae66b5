"""Give the large initials of a PDF page back to their words."""

from __future__ import annotations

import re

from .lines import Line

_INITIAL = re.compile(r"[\"'“„«‘]?[^\W\d_]")
_MAX_INITIALS = 20  # of a page
_WORDS_OF_ONE_LETTER = set("aiouyeàéóаивкосуя")


def attach_initials(pieces: list[Line], body: float) -> list[Line]:
    """Return the pieces with each large initial put before the first of the lines that stand beside it."""
    initials = [piece for piece in pieces if piece.height > 1.6 * body and _INITIAL.fullmatch(piece.text)]
    for initial in initials[:_MAX_INITIALS]:
        beside = [
            piece
            for piece in pieces
            if piece.height < 0.7 * initial.height
            and initial.y < piece.middle < initial.y + initial.height
            and -0.2 * body < piece.x0 - initial.x1 < 1.5 * body
        ]
        if not beside:
            continue
        first = _first_indented(max(beside, key=lambda piece: piece.middle), pieces)
        first.text = initial.text + _blank(initial.text[-1], first.text, pieces) + first.text
        first.joined = False
        pieces = [piece for piece in pieces if piece is not initial]
    return pieces


def _first_indented(line: Line, pieces: list[Line]) -> Line:
    """Return the first of the lines that are indented like one beside an initial: it may stand higher."""
    indented = [line]
    while above := [
        piece
        for piece in pieces
        if abs(piece.x0 - line.x0) < 2 and 0.5 * line.height < piece.y - indented[-1].y < 1.7 * line.height
    ]:
        indented.append(above[0])
    return indented[-1] if len(indented) <= 3 else line  # more lines are indented for another reason


def _blank(letter: str, after: str, pieces: list[Line]) -> str:
    """Return a blank if the initial is a word of its own: "A heron", by what other words the page has."""
    if after[:1].isupper() and after[1:2].islower():
        return " "  # a letter beside the text: B Bollard
    match = re.match(r"[^\W\d_]+", after)
    if match is None or letter.casefold() not in _WORDS_OF_ONE_LETTER:
        return ""
    words = {word for piece in pieces for word in re.findall(r"[^\W\d_]+", piece.text[1:].casefold())}
    rest = match.group().casefold()
    return " " if rest in words and letter.casefold() + rest not in words else ""
