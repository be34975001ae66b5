"""Turn tables that only lay out a page, or number the lines of code, into text."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from .tables import cells_of
from .tree import HEADINGS, LeftOut, attribute, count_words, elements, live

_TABLE_PARTS = ("thead", "tbody", "tfoot", "tr", "td", "th", "caption", "colgroup", "col")
_WRAPPERS = ("form", "div", "span", "center")  # which browsers ignore between a table and its rows
_CONTENT = {
    "table": ("thead", "tbody", "tfoot", "tr", "caption", "colgroup", "col"),
    **dict.fromkeys(("thead", "tbody", "tfoot"), ("tr",)),
    "tr": ("td", "th"),
}
_ROLES = {
    **{"rowgroup": "tbody", "row": "tr", "cell": "td", "gridcell": "td"},
    **{"columnheader": "th", "rowheader": "th"},
}
_LINE_NUMBERS = re.compile(r"line-?num|lineno|\blnt?\b|gutter|blob-num|hljs-ln-n", re.I)
_CODE = re.compile(r"\bcode\b|blob-code|hljs-ln-code", re.I)


def unwrap_layout(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Turn tables that lay out a page into text, and those that number the lines of code into code."""
    for tag in live(
        [
            tag
            for tag in elements(soup, "td", "span", "a", "pre", "div")
            if _LINE_NUMBERS.search(attribute(tag, "class"))
        ]
    ):
        if re.fullmatch(r"\s*(?:\d+\s*)+", tag.get_text()) and _is_in_code(tag):
            left_out.drop(tag, "line numbers")
    for table in reversed(soup.find_all("table")):  # the inner ones first
        if table.find_parent("pre"):
            continue
        _lift_misplaced(soup, table)
        if _is_code(table):
            _join_lines(soup, table)
        elif _is_layout(table):
            _unwrap(table)


def _unwrap(table: Tag) -> None:
    """Turn a table with its rows and cells into divisions, but not the tables in its cells."""
    groups = [table, *table.find_all(["thead", "tbody", "tfoot"], recursive=False)]
    rows = [row for group in groups for row in group.find_all("tr", recursive=False)]
    for part in [*groups, *rows, *(cell for row in rows for cell in cells_of(row))]:
        part.name = "div"
        part.attrs = {}


def _lift_misplaced(soup: BeautifulSoup, table: Tag) -> None:
    """Move what stands in no cell before the table, and put loose cells into a row, as browsers do."""
    parts = [table]
    for part in parts:  # grows
        for form in [child for child in part.children if isinstance(child, Tag) and child.name in _WRAPPERS]:
            if form.find("tr") is not None or form.find("td") is not None:
                form.unwrap()
        row = None
        for child in list(part.children):
            if isinstance(child, Tag) and child.name in ("td", "th") and part.name != "tr":
                if row is None:
                    row = soup.new_tag("tr")
                    child.insert_before(row)
                    parts.append(row)
                row.append(child.extract())
            elif isinstance(child, Tag) and child.name in _CONTENT[part.name]:
                parts += [child] if child.name in _CONTENT else []
            elif isinstance(child, Tag) or (type(child) is NavigableString and child.strip()):
                table.insert_before(child.extract())
                if isinstance(child, Tag) and child.name in _TABLE_PARTS:
                    child.name = "div"


def name_tables(soup: BeautifulSoup) -> None:
    """Turn divisions that have the roles of a table, its rows and cells into a table."""
    for table in [
        tag for tag in elements(soup) if tag.get("role") in ("table", "grid") and tag.name != "table"
    ]:
        parts = [tag for tag in elements(table) if tag.get("role") in _ROLES]
        owners = {id(table), *map(id, parts)}
        if parts and all(id(part.parent) in owners for part in parts):
            table.name = "table"
            for part in parts:
                part.name = _ROLES[attribute(part, "role")]


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
    groups = [table, *table.find_all(["thead", "tbody", "tfoot"], recursive=False)]
    rows = [cells_of(row) for group in groups for row in group.find_all("tr", recursive=False)]
    if any(cell.name == "th" for row in rows for cell in row) or any(g.name == "thead" for g in groups):
        return False
    if table.find("caption", recursive=False):
        return False
    if all(len(row) <= 1 for row in rows):
        return True
    if elements(table, *HEADINGS, "table", "pre", "hr", "form", "article", "section"):
        return True
    return any(
        len(cell.find_all("p", limit=4)) > 3 or count_words(cell.get_text()) > 150
        for row in rows
        for cell in row
    )
