"""Leave out what repeats on the pages of a PDF: running heads and feet, page numbers, watermarks."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from ..parsed import count_characters
from .lines import Line

_MARGIN = 0.2  # of the height of a page in which running lines stand, if a gap separates them from the text
_OUTER_MARGIN = 0.1  # the same for lines without a gap
_LONG_BLOCK = 300  # characters of a table that is no running foot
_NEAR = 4  # pages in which a head of a chapter repeats three times
_NUMBER = re.compile(r"\d{1,4}|\b[ivxlcdm]{1,8}\b", re.IGNORECASE)
_ROMAN = re.compile(r"m{0,3}(?:cm|cd|d?c{0,3})(?:xc|xl|l?x{0,3})(?:ix|iv|v?i{0,3})", re.IGNORECASE)
_ROMAN_VALUES = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100, "d": 500, "m": 1000}
# What may stand beside the number of a page; in any other company the number may be that of a rule or a part.
_LABEL = re.compile(
    r"(?:page|pag|pages|pg|p|seite|s|blatt|página|pagina|pág|feuille|strona|str|sida|side|sivu|oldal|sayfa|стр|с"
    r"|страница|σελ|σελίδα|第|頁|页|ページ|쪽|trang|halaman|of|von|de|sur|di|van|av|af|z|iz|из|/|共)?\.?",
    re.IGNORECASE,
)
_SEPARATED = re.compile(r"^\W*#\W*[|·•–—/]|[|·•–—/]\W*#\W*$")
# 12, - 12 -, [12], | 12
_DECORATION = re.compile(r"[\s|·•~–—-]*(?:\w+|\[\w+\]|\(\w+\))[\s|·•~–—-]*")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")


class _Edge(NamedTuple):
    """A line at the head or foot of a page."""

    page: int
    line: Line
    apart: bool  # a gap separates it from the text


def drop_running_lines(pages: list[list[Line]], left_out: Counter[str]) -> None:
    """Remove, in place, what repeats at the head or foot of the pages, and page numbers there.

    A line repeats if it is the same but for the number of its page, at the same height, on a large share of
    the pages or on several near one another. Of a large headline that repeats, the first is kept.
    """
    body = _body_height(pages)
    edges = [edge for page, lines in enumerate(pages, start=1) for edge in _edges(page, lines)]
    dropped = {id(edge.line) for edge in _page_numbers(edges, body)}
    dropped |= {id(edge.line) for edge in _repeated(edges, len(pages), body)}
    _drop(pages, dropped, "running heads and page numbers", left_out)
    _drop(pages, _watermarks(pages), "watermarks", left_out)


def _drop(pages: list[list[Line]], dropped: set[int], reason: str, left_out: Counter[str]) -> None:
    for lines in pages:
        left_out[reason] += sum(count_characters(line.text) for line in lines if id(line) in dropped)
        lines[:] = [line for line in lines if id(line) not in dropped]


def _body_height(pages: list[list[Line]]) -> float:
    """Return the height in which most of the text is set."""
    heights = Counter[float]()
    for line in (line for lines in pages for line in lines):
        heights[round(line.height, 1)] += len(line.text)
    return max(heights, key=lambda height: heights[height]) if heights else 0.0


def _watermarks(pages: list[list[Line]]) -> set[int]:
    """Return the ids of diagonal lines that repeat."""
    diagonal = [line for lines in pages for line in lines if line.angle % 90]
    counts = Counter(line.text for line in diagonal)
    return {id(line) for line in diagonal if counts[line.text] >= max(2, 0.4 * len(pages))}


def _edges(page: int, lines: list[Line]) -> Iterator[_Edge]:
    """Return the lines in the margins: up to four that a gap separates from the text, or the outermost."""
    lines = [line for line in lines if not line.block or len(line.text) < _LONG_BLOCK]
    upright = [line for line in lines if line.angle == 0] or [line for line in lines if line.angle % 90 == 0]
    top_down = sorted(upright, key=lambda line: -line.level)
    for ordered, depth in (
        (top_down, lambda line: 1 - line.level),
        (top_down[::-1], lambda line: line.level),
    ):
        outermost = _outermost(ordered)
        if outermost:
            yield from (_Edge(page, line, apart=True) for line in outermost if depth(line) < _MARGIN)
        else:
            first = [line for line in ordered if abs(line.y - ordered[0].y) < 0.5 * line.height]
            following = ordered[len(first)] if len(first) < len(ordered) else None
            yield from (
                _Edge(page, line, apart=False)
                for line in first
                if depth(line) < _OUTER_MARGIN and not _is_alike(line, following)
            )


def _is_alike(line: Line, following: Line | None) -> bool:
    """Return whether a line looks like the text that follows it, and is no number."""
    if following is None or any(_read_page_number(line.text)):
        return False
    same_size = abs(line.height - following.height) < 0.05 * line.height
    return same_size and line.font == following.font


def _outermost(lines: list[Line]) -> list[Line]:
    """Return the first lines, at most four, if a gap separates them from the rest, the larger part."""
    for count in range(1, min(5, len(lines))):
        gap = abs(lines[count].y - lines[count - 1].y)
        if gap > 2 * max(lines[count].height, lines[count - 1].height):
            edge, rest = (sum(len(line.text) for line in part) for part in (lines[:count], lines[count:]))
            return lines[:count] if edge <= rest else []
    return []


def _page_numbers(edges: list[_Edge], body: float) -> list[_Edge]:
    """Return the lines with nothing but a page number that agrees with the numbers on the pages around.

    A number that agrees with the count of pages, or says of how many pages it is one, needs no second one.
    """
    numbered = [
        (edge, value, total)
        for edge in edges
        if edge.line.height <= 1.15 * body
        for value, total in _read_page_number(edge.line.text)
    ]
    pages = _numbered_pages(edges)
    return [
        edge
        for edge, value, total in numbered
        if value == edge.page
        or (total and value <= total)
        or any(near in pages[value - edge.page] for near in _pages_near(edge.page, _NEAR))
    ]


def _numbered_pages(edges: list[_Edge]) -> dict[int, set[int]]:
    """Return the pages by the difference between the number that they show and their place.

    A number counts that stands alone or beside a text that repeats with it.
    """
    found: dict[tuple[str, int], set[int]] = defaultdict(set)
    for edge in edges:
        for value, _ in _read_page_number(edge.line.text):
            found["", value - edge.page].add(edge.page)
        for match in _NUMBER.finditer(edge.line.text):
            rest = edge.line.text[: match.start()] + "#" + edge.line.text[match.end() :]
            found[rest, _value(match.group()) - edge.page].add(edge.page)
    pages: dict[int, set[int]] = defaultdict(set)
    for (rest, offset), numbers in found.items():
        if not rest or len(numbers) > 1:
            pages[offset] |= numbers
    return pages


def _pages_near(page: int, distance: int) -> list[int]:
    return [page + step for step in range(-distance, distance + 1) if step]


def _read_page_number(text: str) -> Iterator[tuple[int, int]]:
    """Return the number of a page that is all a line says, with the number of all pages, or 0: 3 and 12."""
    text = _ADDRESS.sub("", text)
    values = [_value(match.group()) for match in _NUMBER.finditer(text)]
    rest = _NUMBER.sub(" ", text)
    words = re.findall(r"[^\W\d_]+|/", rest)
    if not 1 <= len(values) <= 2 or not all(values) or not all(_LABEL.fullmatch(word) for word in words):
        return
    if not words and not _DECORATION.fullmatch(text):
        return
    if len(values) == 1:
        yield values[0], 0
    elif words:
        yield values[0], values[1]


def _value(number: str) -> int:
    """Return the value of an arabic or a roman number, or 0."""
    if number.isdecimal():
        return int(number)
    if not _ROMAN.fullmatch(number):
        return 0
    values = [_ROMAN_VALUES[letter] for letter in number.lower()] + [0]
    return sum(value if value >= after else -value for value, after in pairwise(values))


def _repeated(edges: list[_Edge], pages: int, body: float) -> list[_Edge]:
    """Return the lines that repeat, without the first of a large headline."""
    found: dict[tuple[str, int], list[_Edge]] = defaultdict(list)
    for edge in edges:
        for key in _keys(edge, body):
            found[key].append(edge)
    dropped: list[_Edge] = []
    for same in found.values():
        numbers = {edge.page for edge in same}
        often = len(numbers) >= max(2, 0.4 * pages)
        repeated = [
            edge for edge in same if often or (not edge.line.aside and _is_repeated_near(edge.page, numbers))
        ]
        if not all(edge.apart for edge in repeated) and len(numbers) < 3:
            continue
        if repeated and repeated[0].line.height > 1.15 * body:
            del repeated[0]
        dropped += repeated
    return dropped


def _is_repeated_near(page: int, numbers: set[int]) -> bool:
    return sum(near in numbers for near in _pages_near(page, _NEAR)) >= 2


def _keys(edge: _Edge, body: float) -> Iterator[tuple[str, int]]:
    """Return what makes a line the same on other pages: its text, as it is or without its page number."""
    line, height = edge.line, round(edge.line.base / 2)
    text = line.text.casefold()
    yield text, height
    for match in _NUMBER.finditer(text):
        value = _value(match.group())
        before, after = text[: match.start()], text[match.end() :]
        rest = f"{before}#{after}"
        if not value or not re.search(r"[^\W\d_]", rest):
            continue
        outer = not re.search(r"\w", before) or not re.search(r"\w", after)
        if (
            (line.height < 0.95 * body and not line.bold)  # "Rule 3" and "Rule 4" are headlines
            or (outer and (line.wide or (line.height < 1.15 * body and _SEPARATED.search(rest))))
            or _is_labelled(before)
        ):
            yield f"{rest} {value - edge.page}", height


def _is_labelled(before: str) -> bool:
    """Return whether a word for page stands before a number: "The bat book, page 12"."""
    last = re.findall(r"[^\W\d_]+", before)[-1:]
    return bool(last and last[0] not in ("of", "von", "de", "di") and _LABEL.fullmatch(last[0]))
