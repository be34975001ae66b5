"""Take page numbers out of the headers and footers of pages."""

from __future__ import annotations

from ..parsed import count_characters

PAGE_NUMBER = "\ufdd1"  # in the place of a page number: a code that is no character
_MAX_WORDS = 15  # letters at a page number that say nothing else: "Page 3 of 9"


def without_page_numbers(text: str) -> str:
    """Return a line of a header, whose tabs part what it says, without PAGE_NUMBER and the words at it."""
    segments = text.split("\t")
    kept = [
        segment.replace(PAGE_NUMBER, "")
        for segment in segments
        if PAGE_NUMBER not in segment or count_characters(segment) >= _MAX_WORDS
    ]
    return " ".join(segment.strip() for segment in kept if segment.strip())
