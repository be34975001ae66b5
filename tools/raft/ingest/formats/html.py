"""Read HTML pages: their encoding; markup.py converts the content."""

from __future__ import annotations

import re
from pathlib import Path

from .markup import parse_markup
from .parsed import Parsed
from .plain import decode

_DECLARED = re.compile(rb"""<meta[^>]+charset\s*=\s*["']?([\w-]+)|<\?xml[^>]+encoding=["']([\w-]+)""", re.I)


def read_html(path: str) -> Parsed:
    """Read an HTML page: its main element if it has one, without navigation and hidden content.

    Raises Unreadable if it cannot be decoded.
    """
    data = Path(path).read_bytes()
    match = _DECLARED.search(data[:4096])
    declared = (match.group(1) or match.group(2)).decode("ascii") if match else ""
    # The HTML standard decodes a page declared as Latin-1 or ASCII as Windows-1252.
    if declared.casefold() in ("iso-8859-1", "latin-1", "latin1", "ascii", "us-ascii"):
        declared = "windows-1252"
    return parse_markup(decode(data, declared))
