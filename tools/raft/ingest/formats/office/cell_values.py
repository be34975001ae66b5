"""Show the values of spreadsheet cells as a spreadsheet program does."""

from __future__ import annotations

import datetime
import re
from typing import Any

_BRACKETS = re.compile(r"\[\$([^\]-]*)[^\]]*\]|\[[^\]]*\]")  # a currency; a colour, condition or language
_TOKEN = re.compile(r'"([^"]*)"|\\(.)|[_*].|([#0?][#0?,.]*)|(.)')


def show(cell: Any) -> str:
    """Return the text of an openpyxl cell; dates in the form 2031-04-30."""
    value = cell.value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return show_number(value, cell.number_format or "General")
    if isinstance(value, datetime.datetime):
        date, time = value.date().isoformat(), _clock(value.time())
        return date if time == "00:00" else f"{date} {time}"
    return _clock(value) if isinstance(value, datetime.time) else str(value)


def _clock(time: datetime.time) -> str:
    return time.isoformat("seconds" if time.second else "minutes")


def show_number(value: float, number_format: str) -> str:
    """Show a number in a format such as 0.0% or #,##0.00 (ECMA-376, part 1, section 18.8.31).

    Formats of other kinds, such as fractions, are shown as General.
    """
    sections = number_format.split(";")
    section = sections[0]
    if value < 0 and len(sections) > 1:  # it has a section, and with it a sign, of its own
        section, value = sections[1], -value
    tokens = list(_TOKEN.finditer(_BRACKETS.sub(r'"\1"', section)))
    patterns = [token[3] for token in tokens if token[3]]
    signs = "".join(token[4] or "" for token in tokens)
    if len(patterns) != 1 or re.search(r"[A-Za-z/@]", signs):
        return str(value) if isinstance(value, int) else f"{value:.15g}"
    number = _fill(value * 100 ** signs.count("%"), patterns[0])
    return "".join(number if token[3] else token[1] or token[2] or token[4] or "" for token in tokens)


def _fill(value: float, pattern: str) -> str:
    """Show a number in the places of a pattern of #, 0, ? with a comma for thousands."""
    value /= 1000 ** (len(pattern) - len(pattern.rstrip(",")))
    whole, _, decimals = pattern.rstrip(",").partition(".")
    number = f"{value:{',' if ',' in whole else ''}.{len(decimals)}f}"
    for place in reversed(decimals):
        if place == "0" or not number.endswith("0"):
            break
        number = number[:-1]
    sign = "-" if number.startswith("-") else ""
    return sign + number.removeprefix("-").rstrip(".").rjust(
        whole.count("0") + (1 + decimals.count("0") if "0" in decimals else 0), "0"
    )
