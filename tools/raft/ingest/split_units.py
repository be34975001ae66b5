"""Cut text into the units that chunks are made of: sentences, headings, code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ..text.sentences import split_sentences

# Strength of a cut: the stronger, the better a place to end a chunk. A higher heading is stronger.
SENTENCE, ITEM, PARAGRAPH, HEADING = 0.0, 1.0, 2.0, 3.0
NEVER, MUST = -1.0, float("inf")  # right after a heading; where the topic changes

_HEADING_LINE = re.compile(r"(#{1,6})[ \t]+\S")
_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)
_PARAGRAPH_END = re.compile(r"\n[ \t]*\n\s*")
_ITEM_START = re.compile(r"[-*•|][ \t]|\d{1,3}[.)][ \t]")


@dataclass(slots=True)
class Unit:
    """A piece that is not cut further: a sentence, a heading, a code block."""

    start: int
    end: int
    cut: float  # strength of the cut before the unit
    tokens: int = 0


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
        position = start
        for sentence in split_sentences(text[start:end]):
            sentence_start = text.index(sentence, position)
            heading = _HEADING_LINE.match(sentence)
            if heading and cut != NEVER:
                cut = HEADING + 6 - len(heading.group(1))
            elif position > start and cut != NEVER:
                new_line = "\n" in text[position:sentence_start]
                cut = ITEM if new_line and _ITEM_START.match(sentence) else SENTENCE
            position = sentence_start + len(sentence)
            yield Unit(sentence_start, position, cut)
            below_heading = heading is not None
            cut = NEVER if below_heading else SENTENCE


def _blocks(text: str) -> Iterator[tuple[int, int, bool]]:
    """Yield the paragraphs and the fenced code blocks: start, end, whether it is code."""
    fences = [match.start(1) for match in _FENCE.finditer(text)]
    position = 0
    for opening, closing in zip(fences[::2], fences[1::2], strict=False):
        yield from _paragraphs(text, position, opening)
        line_end = text.find("\n", closing)
        position = len(text) if line_end < 0 else line_end
        yield opening, opening + len(text[opening:position].rstrip()), True
    yield from _paragraphs(text, position, len(text))


def _paragraphs(text: str, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    for match in _PARAGRAPH_END.finditer(text, start, end):
        if text[start : match.start()].strip():
            yield start, match.start(), False
        start = match.end()
    if text[start:end].strip():
        yield start, end, False


def _is_title(text: str, start: int, end: int) -> bool:
    """Return whether a paragraph is an unmarked heading: one short line without punctuation at its end."""
    line = text[start:end].strip() if end - start < 80 else ""
    return bool(line) and "\n" not in line and line[-1].isalnum() and line[0] not in "-*•|>#"
