"""Write the text of slides as HTML: paragraphs, lists with their numbers, tables."""

from __future__ import annotations

from html import escape
from typing import Any

from ..number_mark import NUMBER_MARK
from ..ooxml import child, number, tag
from ..word.numbers import write_number
from ..write_html import write_list, write_table

_NUMBERS = {
    "arabic": "decimal",
    "alphaLc": "lowerLetter",
    "alphaUc": "upperLetter",
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
}


def write_paragraphs(body: Any, *, bullets: bool) -> str:
    """Return the paragraphs of a text body; those with a number or bullet are items of a list."""
    counts: dict[int, int] = {}
    html = ""
    items: list[tuple[int, str]] = []
    for paragraph in body.findall(tag("a:p")):
        text = write_runs(paragraph)
        properties = child(paragraph, "a:pPr")
        level = min(number(None if properties is None else properties.get("lvl"), 0), 8)
        automatic = child(properties, "a:buAutoNum")
        for deeper in [
            deeper for deeper in counts if deeper > level or (deeper == level and automatic is None)
        ]:
            del counts[deeper]
        if not text:
            continue
        if automatic is not None:
            counts[level] = counts.get(level, number(automatic.get("startAt"), 1) - 1) + 1
            items.append((level, f"{NUMBER_MARK}{_label(automatic, counts[level])} {text}"))
        elif child(properties, "a:buNone") is None and (bullets or child(properties, "a:buChar") is not None):
            items.append((level, text))
        else:
            html += write_list(items) + f"<p>{text}</p>"
            items = []
    return html + write_list(items)


def _label(automatic: Any, count: int) -> str:
    kind = automatic.get("type") or "arabicPeriod"
    shown = next(
        (write_number(count, name) for start, name in _NUMBERS.items() if kind.startswith(start)), str(count)
    )
    if kind.endswith("ParenBoth"):
        return f"({shown})"
    return shown + (")" if kind.endswith("ParenR") else "." if kind.endswith("Period") else "")


def write_runs(paragraph: Any) -> str:
    html = ""
    for element in paragraph:
        if element.tag == tag("a:br"):
            html += "<br>"
        elif (text := child(element, "a:t")) is not None and text.text:
            properties = child(element, "a:rPr")
            raised = number(None if properties is None else properties.get("baseline"), 0)
            written = escape(text.text.replace("\v", "\n")).replace("\n", "<br>")
            html += (
                f"<sup>{written}</sup>" if raised > 0 else f"<sub>{written}</sub>" if raised < 0 else written
            )
    return html.strip()


def write_table_of_slide(table: Any) -> str:
    rows = []
    for row in table.findall(tag("a:tr")):
        cells = []
        for cell in row.findall(tag("a:tc")):
            if cell.get("hMerge") in ("1", "true") or cell.get("vMerge") in ("1", "true"):
                continue
            body = child(cell, "a:txBody")
            paragraphs = [] if body is None else body.findall(tag("a:p"))
            spans = f' colspan="{number(cell.get("gridSpan"), 1)}" rowspan="{number(cell.get("rowSpan"), 1)}"'
            cells.append(("<br>".join(filter(None, map(write_runs, paragraphs))), spans))
        rows.append(cells)
    return write_table(rows)
