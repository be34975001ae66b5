"""Tell the chunks that nothing can be asked about, and those that repeat another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ..records import Chunk, content_id
from ..text.normalise import fold

_MIN_LETTERS = 20

# What bibliographies are made of: years in brackets, identifiers, pages, dates of retrieval.
_CITED = re.compile(
    r"\((?:[A-Z]\w+ (?:\d{1,2}, )?)?(?:1[6-9]|20)\d\d[a-z]?\)|\bdoi\b|\bISBN|\bISSN|\bPMID|arXiv:"
    r"|\bRetrieved\b|\bArchived\b|\bpp?\. ?\d|\d+ ?\(\d+\) ?: ?\d|, (?:vol|no|S)\. ?\d"
)
_NUMBERED = re.compile(r"\s*(?:[-*•]\s+)?(?:\[?\d{1,3}[.\])]|[a-z]\.|\^)\s")
_CONTENTS_LINE = re.compile(r".*\S(?:\s?\.){3,}\s*\d+$|.*\S\s{2,}\d+$|\|.*\.{3,}.*\d+\s*\|$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_ADDRESS = re.compile(r"https?://\S+")


def low_content_reason(chunk: Chunk) -> str:
    """Give the reason why a chunk has no substance to ask about, or nothing where it has.

    An API entry always has.
    """
    if chunk["kind"] == "api":
        return ""
    lines = [line for line in chunk["text"].splitlines() if line.strip()]
    body = [line for line in lines if not re.match(r"#{1,6}\s", line)]
    text = "\n".join(body)
    if not body:
        return "nothing but headings"
    if _letters(text) < _MIN_LETTERS:
        return "hardly any text"
    if _letters(text) < 0.25 * sum(not char.isspace() for char in text):
        return "mostly figures or signs"
    if len(body) >= 4 and sum(_CONTENTS_LINE.match(line) is not None for line in body) > 0.6 * len(body):
        return "table of contents"
    if _letters(_ADDRESS.sub("", _LINK.sub("", text))) < 0.3 * _letters(_LINK.sub(r"\1", text)):
        return "mostly links"
    if _is_bibliography(body):
        return "list of references"
    return ""


def _letters(text: str) -> int:
    """Count letters; one of a script that writes words in a character or two counts as three."""
    return sum(
        3 if unicodedata.east_asian_width(char) in ("W", "F") else 1 for char in text if char.isalpha()
    )


def _is_bibliography(lines: list[str]) -> bool:
    """Tell a list in which most entries cite: an entry is a numbered line with those that go on with it."""
    entries: list[str] = []
    for line in lines:
        if entries and not _NUMBERED.match(line) and _NUMBERED.match(entries[-1]) and len(line) < 200:
            entries[-1] += " " + line
        else:
            entries.append(line)
    cited = []
    for entry in entries:
        signs = len(_CITED.findall(entry))
        numbered = _NUMBERED.match(entry) and (signs or _ADDRESS.search(entry))
        if (numbered or signs > 1) and len(entry) < 250 * (signs + 1):
            cited.append(entry)
    return len(cited) > 1 and sum(map(len, cited)) > 0.6 * sum(map(len, entries))


def drop_duplicates(chunks: Iterable[Chunk]) -> tuple[list[Chunk], list[Chunk]]:
    """Part the chunks into the first of each text and those that repeat one, but for white space and case.

    The same text on both sides of a split would be trained on and tested with.
    """
    kept: list[Chunk] = []
    dropped: list[Chunk] = []
    seen: set[str] = set()
    for chunk in chunks:
        key = content_id(fold(chunk["text"]).casefold())
        (dropped if key in seen else kept).append(chunk)
        seen.add(key)
    return kept, dropped
