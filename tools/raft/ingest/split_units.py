"""Cut text into the units that chunks are made of: sentences, headings, code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..text.fences import fenced_blocks
from ..text.sentences import split_sentences

# Strength of a cut: the stronger, the better a place to end a chunk. A higher heading is stronger.
SENTENCE, ITEM, PARAGRAPH, HEADING = 0.0, 1.0, 2.0, 3.0
NEVER, MUST = -1.0, float("inf")  # right after a heading; where the topic changes

_HEADING_LINE = re.compile(r"(#{1,6})[ \t]+\S")
_UNDERLINED = re.compile(r"[^\n|]+\n[ \t]*(?:=+|-+)[ \t]*")
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
# A table: its head, one row, and the line of dashes below it. The bars at the sides may be missing.
_TABLE_HEAD = re.compile(
    r"^[^|\n]*\|.*\n(?=[^\n]*\|)[ \t]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*(?::?-+:?[ \t]*)?)*$",
    re.MULTILINE,
)
_ITEM_START = re.compile(r"[-*•|][ \t]|\d{1,3}[.)][ \t]")


@dataclass(slots=True)
class Unit:
    """A piece that is not cut further: a sentence, a heading, a row of a table, a code block."""

    start: int
    end: int
    cut: float  # strength of the cut before the unit
    tokens: int = 0
    head: tuple[int, int] | None = None  # start and end of the table head that a chunk from here on repeats
    head_tokens: int = 0


def cut_units(text: str) -> Iterator[Unit]:
    """Yield the units of a text in order, without the white space between them."""
    below_heading = below_title = False
    for start, end, is_code in _blocks(text):
        title = not is_code and _is_title(text, start, end)
        cut = NEVER if below_heading or (below_title and not title) else PARAGRAPH
        below_heading, below_title = False, title
        if is_code:
            yield Unit(start, end, cut)
            continue
        while start < end:
            table = _TABLE_HEAD.search(text, start, end)
            stop = table.start() if table else end
            for unit in _sentences(text, start, stop, cut):
                below_heading = _is_heading(text, unit)
                cut = NEVER if below_heading else ITEM
                yield unit
            start = stop
            if table:
                start = _end_of_table(text, table, end)
                yield from _rows(text, table, start, cut)
                below_heading, cut = False, ITEM


def _sentences(text: str, start: int, end: int, cut: float) -> Iterator[Unit]:
    position = start
    for sentence in split_sentences(text[start:end]):
        sentence_start = text.index(sentence, position)
        unit = Unit(sentence_start, sentence_start + len(sentence), cut)
        heading = _is_heading(text, unit)
        if heading and cut != NEVER:
            level = len(sentence) - len(sentence.lstrip("#"))
            unit.cut = HEADING + 6 - level
        elif position > start and cut != NEVER:
            new_line = "\n" in text[position:sentence_start]
            unit.cut = ITEM if new_line and _ITEM_START.match(sentence) else SENTENCE
        position = unit.end
        yield unit
        cut = NEVER if heading else SENTENCE


def _end_of_table(text: str, table: re.Match[str], end: int) -> int:
    """Return where the rows below a head end: before the first line without a bar."""
    position = table.end()
    while position < end:
        line_end = _line_end(text, position + 1, end)
        if "|" not in text[position:line_end]:
            break
        position = line_end
    return position


def _rows(text: str, table: re.Match[str], end: int, cut: float) -> Iterator[Unit]:
    """Yield the head of a table and its rows; each row but the first names the head to repeat above it."""
    head = _strip(text, *table.span())
    yield Unit(*head, cut)
    position = table.end()
    below_head = True
    while position < end:
        line_end = _line_end(text, position + 1, end)
        yield Unit(
            *_strip(text, position, line_end),
            NEVER if below_head else ITEM,
            head=None if below_head else head,
        )
        below_head, position = False, line_end


def _line_end(text: str, position: int, end: int) -> int:
    found = text.find("\n", position, end)
    return end if found < 0 else found


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    """Return a span without the white space at its ends."""
    piece = text[start:end]
    return start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip())


def _is_heading(text: str, unit: Unit) -> bool:
    """Return whether a unit is a heading, not a comment in code that is indented by four blanks or a tab."""
    indent = text[text.rfind("\n", 0, unit.start) + 1 : unit.start]
    return len(indent) < 4 and "\t" not in indent and bool(_HEADING_LINE.match(text, unit.start, unit.end))


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the paragraphs and the fenced code blocks: start, end, whether it is code."""
    position = 0
    for start, end in fenced_blocks(text):
        yield from _paragraphs(text, position, start)
        yield start, start + len(text[start:end].rstrip()), True
        position = end
    yield from _paragraphs(text, position, len(text))


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    for match in _PARAGRAPH_END.finditer(text, start, end):
        if text[start : match.start()].strip():
            yield start, match.start(), False
        start = match.end()
    if text[start:end].strip():
        yield start, end, False


def _is_title(text: str, start: int, end: int) -> bool:
    """Return whether a paragraph is an underlined heading, or a short line without punctuation at its end."""
    if _UNDERLINED.fullmatch(text, start, end):
        return True
    line = text[start:end].strip() if end - start < 80 else ""
    return bool(line) and "\n" not in line and line[-1].isalnum() and line[0] not in "-*•|>#"
