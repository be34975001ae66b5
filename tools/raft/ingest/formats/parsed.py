"""What a format's reader returns, and the account of the characters that it saw and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

_MAX_NAMED = 5

OnPage = Callable[[int, int], None]  # pages done, pages in all


class Unreadable(Exception):
    """A file or item that cannot be used; the message is the reason shown to the user."""


class Parsed(TypedDict):
    """What a format's reader returns for a file; the text is not sanitized yet.

    Characters are counted by `count_characters`. `seen` is counted before anything is left out, so that a
    loss that no reason explains becomes visible.
    """

    text: str
    title: str  # empty if the file has none
    page_starts: list[int]
    notes: list[str]  # parts that could not be read
    seen: int  # characters of the file
    left_out: dict[str, int]  # characters that were left out, by reason


def make_parsed(
    text: str,
    *,
    title: str = "",
    page_starts: Sequence[int] = (),
    notes: Sequence[str] = (),
    left_out: Mapping[str, int] | None = None,
    seen: int | None = None,
) -> Parsed:
    """Build the result of a reader; without `seen`, only what is in `left_out` was left out."""
    left_out = {reason: count for reason, count in (left_out or {}).items() if count > 0}
    if seen is None:
        seen = count_characters(text) + sum(left_out.values())
    return {
        "text": text,
        "title": title,
        "page_starts": list(page_starts),
        "notes": list(notes),
        "seen": seen,
        "left_out": left_out,
    }


def name_some(names: Sequence[str]) -> str:
    """Return the first names as a list in a sentence, and how many more there are."""
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def count_characters(text: str) -> int:
    """Count letters and digits: what the account of a document counts, since markup adds signs and blanks."""
    return sum(map(str.isalnum, text))
