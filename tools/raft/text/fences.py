"""Find the fenced code blocks of Markdown, by the rules of CommonMark."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A fence may stand in a list or a quotation. Text after backticks may hold no other: that is code in a line.
_FENCE = re.compile(
    r"^(?P<before>[ \t]*(?:(?:[-*+]|\d{1,9}[.)]|>)[ \t]*)*)"
    r"(?:(?P<ticks>`{3,})(?P<info>[^`\n]*)|(?P<tildes>~{3,})(?P<rest>.*))$",
    re.MULTILINE,
)
_CLOSING_BEFORE = re.compile(r"[ \t>]*")


def fenced_blocks(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each block, from its opening fence to the end of its closing one.

    A block ends at a line of the same sign that is at least as long and holds nothing else; a shorter fence
    inside it is code. One that is never closed runs to the end of the text.
    """
    start, fence = 0, ""
    for match in _FENCE.finditer(text):
        line = match["ticks"] or match["tildes"]
        if not fence:
            fence, start = line, match.end("before")
        elif (
            line.startswith(fence)
            and not (match["info"] or match["rest"] or "").strip()
            and _CLOSING_BEFORE.fullmatch(match["before"])
        ):
            yield start, match.end()
            fence = ""
    if fence:
        yield start, len(text)
