"""Find the place of an answer in its text, also where the offset that came with it is wrong."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from .normalise import UNSPACED, fold
from .quotes import fold_with_offsets


def locate_answer(answer: str, text: str, offset: int | None) -> tuple[int, str] | None:
    """Return where an answer stands in a text, and its wording there; None if it stands nowhere.

    An offset may count characters, UTF-8 bytes or UTF-16 units. If the answer does not stand there, the
    nearest place counts: of the answer as it is or else, ignoring case, white space, Unicode forms and the
    style of quotation marks. Only whole words count there. Without an offset, there must be a single place.
    """
    if offset is not None:
        if text.startswith(answer, offset):
            return offset, answer
        for encoding, unit in (("utf-8", 1), ("utf-16-le", 2)):
            start = len(text.encode(encoding)[: offset * unit].decode(encoding, "ignore"))
            if text.startswith(answer, start) and _is_whole(text, start, start + len(answer)):
                return start, answer
    places = _whole_words([match.span() for match in re.finditer(re.escape(answer), text)], text)
    places = places or _whole_words(list(_folded_places(answer, text)), text)
    if not places or (offset is None and len(places) > 1):
        return None
    start, end = min(places, key=lambda place: abs(place[0] - (offset or 0)))
    return start, text[start:end]


def _folded_places(answer: str, text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of a text that fold to the same as the answer, ignoring case."""
    wanted = fold(answer)
    if not wanted:
        return
    folded, offsets = fold_with_offsets(text)
    for match in re.finditer(re.escape(wanted), folded, re.IGNORECASE):
        yield offsets[match.start()], offsets[match.end() - 1] + 1


def _whole_words(places: list[tuple[int, int]], text: str) -> list[tuple[int, int]]:
    """Return the places that are whole words; words that are not ASCII may have endings attached."""
    whole = [place for place in places if _is_whole(text, *place)]
    return whole or [(start, end) for start, end in places if not text[start:end].isascii()]


def _is_whole(text: str, start: int, end: int) -> bool:
    """Return whether a span neither starts nor ends inside a word."""
    return not (_joined(text, start) or _joined(text, end))


def _joined(text: str, position: int) -> bool:
    """Return whether the characters on both sides of a position belong to one word."""
    if not 0 < position < len(text):
        return False
    before, after = text[position - 1], text[position]
    if unicodedata.category(after).startswith("M"):
        return True
    return before.isalnum() and after.isalnum() and not UNSPACED.match(before) and not UNSPACED.match(after)
