"""Find chunks that no question can be asked about, and chunks that repeat another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from ..on_disk import DiskMap
from ..records import Chunk
from ..text.normalise import fold

_MIN_LETTERS = 20

# Typical of bibliography entries: years in brackets, identifiers, pages, dates of retrieval.
_CITATION_MARK = re.compile(
    r"\((?:[A-Z]\w+ (?:\d{1,2}, )?)?(?:1[6-9]|20)\d\d[a-z]?\)|\bdoi\b|\bISBN|\bISSN|\bPMID|arXiv:"
    r"|\bRetrieved\b|\bArchived\b|\bpp?\. ?\d|\d+ ?\(\d+\) ?: ?\d|, (?:vol|no|S)\. ?\d"
)
_NUMBERED = re.compile(r"\s*(?:[-*•]\s+)?(?:\[?\d{1,3}[.\])]|[a-z]\.|\^)\s")
_CONTENTS_LINE = re.compile(r".*\S(?:\s?\.){3,}\s*\d+$|.*\S\s{2,}\d+$|\|.*\.{3,}.*\d+\s*\|$")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_URL = re.compile(r"https?://\S+")


def low_content_reason(chunk: Chunk) -> str:
    """Return why a chunk has no content to ask about, or an empty string if it has some.

    An API entry always has some.
    """
    if chunk["kind"] == "api":
        return ""
    lines = [line for line in chunk["text"].splitlines() if line.strip()]
    body = [line for line in lines if not re.match(r"#{1,6}\s", line)]
    text = "\n".join(body)
    letters = _count_letters(text)
    if not body:
        return "nothing but headings"
    if letters < _MIN_LETTERS:
        return "hardly any text"
    if letters < 0.25 * sum(map(len, text.split())):
        return "mostly figures or signs"
    if len(body) >= 4 and sum(_CONTENTS_LINE.match(line) is not None for line in body) > 0.6 * len(body):
        return "table of contents"
    unlinked = _URL.sub("", _LINK.sub("", text))
    if unlinked != text and _count_letters(unlinked) < 0.3 * _count_letters(_LINK.sub(r"\1", text)):
        return "mostly links"
    if _is_bibliography(body):
        return "list of references"
    return ""


def _count_letters(text: str) -> int:
    """Count letters; a wide (East Asian) one counts as three, since a word takes only one or two of them."""
    letters = "".join(filter(str.isalpha, text))
    if letters.isascii():
        return len(letters)
    return sum(3 if unicodedata.east_asian_width(char) in ("W", "F") else 1 for char in letters)


def _is_bibliography(lines: list[str]) -> bool:
    """Return whether most of the text consists of entries that cite a source.

    An entry is a numbered line with the lines that continue it, or any other single line.
    """
    entries: list[str] = []
    for line in lines:
        if entries and not _NUMBERED.match(line) and _NUMBERED.match(entries[-1]) and len(line) < 200:
            entries[-1] += " " + line
        else:
            entries.append(line)
    cited = []
    for entry in entries:
        marks = len(_CITATION_MARK.findall(entry))
        numbered = _NUMBERED.match(entry) and (marks or _URL.search(entry))
        if (numbered or marks > 1) and len(entry) < 250 * (marks + 1):
            cited.append(entry)
    return len(cited) > 1 and sum(map(len, cited)) > 0.6 * sum(map(len, entries))


def repetition_filter() -> Callable[[Chunk], bool]:
    """Return a function that tells whether a chunk repeats an earlier one, ignoring white space and case.

    A text in both train and test would be tested on after being trained on.
    """
    seen = DiskMap()
    return lambda chunk: not seen.add(fold(chunk["text"]).casefold())
