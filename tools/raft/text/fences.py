"""Find the fenced code blocks of Markdown, by the rules of CommonMark."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A line that opens a block, perhaps in a list or a quotation. Behind backticks no other may follow: that is
# code within a line.
OPENING = r"^[ \t]*(?:(?:[-*+]|\d{1,9}[.)]|>)[ \t]*)*(?P<fence>`{3,}(?=[^`\n]*$)|~{3,}).*$"
_OPENING = re.compile(OPENING, re.MULTILINE)


def fenced_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each block, from its opening fence to the end of its closing one."""
    position = 0
    while opening := _OPENING.search(text, position):
        position = end_of_block(text, opening)
        yield opening.start("fence"), position


def end_of_block(text: str, opening: re.Match[str]) -> int:
    """Return the end of the block that a match of OPENING begins.

    It ends with a line of the same sign that is at least as long and holds nothing else, so that a shorter
    fence is code. A block that is never closed runs to the end of the text.
    """
    fence = opening["fence"]
    closing = re.compile(rf"^[ \t>]*{fence[0]}{{{len(fence)},}}[ \t]*$", re.MULTILINE)
    match = closing.search(text, opening.end())
    return match.end() if match else len(text)
