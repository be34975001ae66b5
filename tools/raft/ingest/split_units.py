"""Cut text into the pieces that chunks are made of: sentences, headings, blocks of code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..text.sentences import split_sentences

# How strongly a place asks to be cut; headings ask the more, the higher they are.
SENTENCE, ITEM, PARAGRAPH, HEADING = 0.0, 1.0, 2.0, 3.0
NEVER, MUST = -1.0, float("inf")  # right after a heading; where the meaning changes

_HEADING_LINE = re.compile(r"(#{1,6})[ \t]+\S")
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_ITEM_START = re.compile(r"[-*•|][ \t]|\d{1,3}[.)][ \t]")


@dataclass(slots=True)
class Unit:
    """A piece that is not cut: a sentence, a heading, a block of code."""

    start: int
    end: int
    cut: float  # how strongly the place before it asks to be cut
    tokens: int = 0


def cut_units(text: str) -> Iterator[Unit]:
    """Cut text into the pieces that chunks are made of, in order, without the white space between them."""
    below_heading = below_title = False
    for start, end, is_code in _blocks(text):
        title = not is_code and _is_title(text, start, end)
        cut = NEVER if below_heading or (below_title and not title) else PARAGRAPH
        below_heading, below_title = False, title
        if is_code:
            yield Unit(start, end, cut)
            continue
        place = start
        for sentence in split_sentences(text[start:end]):
            at = text.index(sentence, place)
            heading = _HEADING_LINE.match(sentence)
            if heading and cut != NEVER:
                cut = HEADING + 6 - len(heading.group(1))
            elif place > start and cut != NEVER:
                cut = ITEM if _ITEM_START.match(sentence) and "\n" in text[place:at] else SENTENCE
            place = at + len(sentence)
            yield Unit(at, place, cut)
            below_heading = heading is not None
            cut = NEVER if below_heading else SENTENCE


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Give the paragraphs and the fenced code blocks: start, end, whether it is code."""
    fences = [match.start(1) for match in _FENCE.finditer(text)]
    place = 0
    for opening, closing in zip(fences[::2], fences[1::2], strict=False):
        yield from _paragraphs(text, place, opening)
        line_end = text.find("\n", closing)
        place = len(text) if line_end < 0 else line_end
        yield opening, opening + len(text[opening:place].rstrip()), True
    yield from _paragraphs(text, place, len(text))


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    for match in _PARAGRAPH_END.finditer(text, start, end):
        if text[start : match.start()].strip():
            yield start, match.start(), False
        start = match.end()
    if text[start:end].strip():
        yield start, end, False


def _is_title(text: str, start: int, end: int) -> bool:
    """Tell a heading without a mark: a short line that is a paragraph of its own and ends without a stop."""
    line = text[start:end].strip() if end - start < 80 else ""
    return bool(line) and "\n" not in line and line[-1].isalnum() and line[0] not in "-*•|>#"
