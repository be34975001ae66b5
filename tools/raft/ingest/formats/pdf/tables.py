"""Write the tables of a PDF page in Markdown, in place of the pieces of text of which they are made."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from ..write_table import write_table
from .lines import Line, join_pieces

_LEADER = re.compile(r"\s*(?:\.\s?|…\s?){3,}")


@dataclass
class Table:
    """A table: the text of its cells row by row, and the pieces of the page of which it is made."""

    rows: list[list[str]]
    pieces: list[Line]
    edges: list[float]  # where its columns begin and where the last one ends
    left_out: Counter[str]  # characters, by reason
    title: str = ""  # a cell as wide as the table, above its head
    contents: bool = False  # a table of contents, which stays lines of text

    @property
    def first(self) -> Line:
        """Return the highest piece."""
        return max(self.pieces, key=lambda piece: piece.middle)

    @property
    def top(self) -> float:
        """Return the height of the first row on the page."""
        return self.first.middle

    @property
    def bottom(self) -> float:
        """Return the height of the last row on the page."""
        return min(piece.middle for piece in self.pieces)


def replace_tables(pieces: list[Line], tables: list[Table]) -> list[Line]:
    """Return the pieces of a page with one piece, at its first row, for each table."""
    taken = {id(piece) for table in tables for piece in table.pieces}
    rest = [piece for piece in pieces if id(piece) not in taken]
    blocks = [
        Line(
            text=_write(table),
            x0=min(piece.x0 for piece in table.pieces),
            x1=max(piece.x1 for piece in table.pieces),
            y=table.first.y,
            height=_common_height(table.pieces),
            order=min(piece.order for piece in table.pieces),
            block=True,
        )
        for table in tables
    ]
    return sorted([*rest, *blocks], key=lambda piece: piece.order)


def _common_height(pieces: list[Line]) -> float:
    heights = Counter[float]()
    for piece in pieces:
        heights[round(piece.height, 1)] += len(piece.text)
    return max(heights, key=lambda height: heights[height])


def _write(table: Table) -> str:
    """Return a table in Markdown; its first row is the head."""
    if table.contents:
        return "\n".join(_LEADER.sub(" … ", " ".join(filter(None, row))) for row in table.rows)
    title = f"{table.title}\n\n" if table.title else ""
    return title + write_table(table.rows)


def continue_table(table: Table, before: Table | None) -> None:
    """Give a table, in place, the head of the table from the page before if it goes on that one."""
    if before is None or len(table.edges) != len(before.edges) or table.rows[0] == before.rows[0]:
        return
    fonts = Counter(piece.font for piece in table.pieces)
    own_head = table.first.font != fonts.most_common(1)[0][0]
    if not own_head and all(abs(a - b) < 4 for a, b in zip(table.edges[:-1], before.edges[:-1], strict=True)):
        table.rows.insert(0, before.rows[0])


def join_cell(pieces: list[Line], left_out: Counter[str]) -> str:
    """Return the text of the pieces of a cell in one line."""
    text, hyphen = "", False
    for line in join_pieces(sorted(pieces, key=lambda piece: piece.order), left_out):
        if hyphen:
            text = text if line.text[:1].islower() else f"{text}-"
        elif text:
            text += "" if _is_wide(text[-1]) and _is_wide(line.text[0]) else " "
        text += line.text
        hyphen = line.hyphen
    return text + "-" * hyphen


def is_number(text: str) -> bool:
    """Return whether a text is digits for the most part."""
    return 2 * sum(map(str.isdigit, text)) >= sum(map(str.isalnum, text))


def _is_wide(char: str) -> bool:
    return "\u2e80" <= char <= "\uabff" or "\uff00" <= char <= "\uffef"
