"""Write the HTML of lists and tables, for readers of formats that have other ways to say them."""

from __future__ import annotations


def write_list(items: list[tuple[int, str]]) -> str:
    """Return items, each with its level, as a list of lists."""
    html = ""
    open_levels: list[int] = []
    for level, text in items:
        while open_levels and open_levels[-1] > level:
            open_levels.pop()
            html += "</li></ul>"
        if open_levels and open_levels[-1] == level:
            html += "</li>"
        else:
            open_levels.append(level)
            html += "<ul>"
        html += f"<li>{text}"
    return html + "</li></ul>" * len(open_levels)


def write_table(rows: list[list[tuple[str, str]]]) -> str:
    """Return a table of cells, each its content and its attributes."""
    if not rows:
        return ""
    written = ("".join(f"<td{spans}>{text}</td>" for text, spans in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in written) + "</table>"
