"""Turn tables that only lay out a page, or number the lines of code, into text."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from .markup_tables import cells_of
from .markup_tree import HEADINGS, LeftOut, attribute, count_words, live

_PARTS = ["thead", "tbody", "tfoot", "tr", "td", "th", "caption", "colgroup"]
_LINE_NUMBERS = re.compile(r"line-?num|lineno|\blnt?\b|gutter|blob-num|hljs-ln-n", re.I)
_CODE = re.compile(r"\bcode\b|blob-code|hljs-ln-code", re.I)


def unwrap_layout(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Turn tables that lay out a page into text, and those that number the lines of code into code."""
    for tag in live(soup.find_all(["td", "span", "a", "pre", "div"], class_=_LINE_NUMBERS)):
        if re.fullmatch(r"\s*(?:\d+\s*)+", tag.get_text()) and _is_in_code(tag):
            left_out.drop(tag, "line numbers")
    for table in reversed(soup.find_all("table")):  # the inner ones first
        if table.find_parent("pre"):
            continue
        if _is_code(table):
            _join_lines(soup, table)
        elif _is_layout(table):
            for part in [*table.find_all(_PARTS), table]:
                part.name = "div"
                part.attrs = {}


def _is_in_code(tag: Tag) -> bool:
    row = tag.find_parent("tr")
    in_code_row = row is not None and (row.find("pre") is not None or row.find(class_=_CODE) is not None)
    return in_code_row or tag.find_parent(["pre", "code"]) is not None


def _is_code(table: Tag) -> bool:
    """Return whether every row of a table is a line of code."""
    cells = [cell for row in table.find_all("tr") for cell in cells_of(row) if cell.get_text(strip=True)]
    return (
        bool(cells)
        and not table.find("pre")
        and all(_CODE.search(attribute(cell, "class")) for cell in cells)
    )


def _join_lines(soup: BeautifulSoup, table: Tag) -> None:
    code = soup.new_tag("pre")
    code.string = "\n".join(
        "".join(cell.get_text() for cell in cells_of(row)) for row in table.find_all("tr")
    )
    table.replace_with(code)


def _is_layout(table: Tag) -> bool:
    if attribute(table, "role") in ("presentation", "none"):
        return True
    if table.find(["th", "caption", "thead"]):
        return False
    rows = [cells_of(row) for row in table.find_all("tr")]
    if all(len(row) <= 1 for row in rows):
        return True
    if table.find([*HEADINGS, "table", "pre", "hr", "form", "article", "section"]):
        return True
    return any(
        len(cell.find_all("p", limit=4)) > 3 or count_words(cell.get_text()) > 150
        for row in rows
        for cell in row
    )
