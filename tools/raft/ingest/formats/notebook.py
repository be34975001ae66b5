"""Read Jupyter notebooks: text, code and short results."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...text.sanitize import remove_terminal_codes, unify_line_ends
from .markdown import parse_markdown
from .parsed import Parsed, Unreadable, count_characters, make_parsed
from .plain import decode

_LONG_OUTPUT = 1000  # characters; longer ones are logs and dumps rather than results
_OUTPUTS = "long outputs, warnings and errors of code"


def read_notebook(path: str) -> Parsed:
    """Read a notebook of format 3 or 4: its cells in order, code in fences, without images.

    Raises Unreadable if it is no notebook.
    """
    try:
        notebook = json.loads(decode(Path(path).read_bytes()))
    except ValueError:
        raise Unreadable("broken: not the JSON of a notebook") from None
    cells = _cells(notebook)
    language = _language(notebook)
    parts: list[str] = []
    title, seen, left_out = "", 0, Counter[str]()
    for cell in cells:
        source = unify_line_ends(_text(cell.get("source", cell.get("input"))))
        kind = cell.get("cell_type")
        seen += count_characters(source)
        if kind == "code":
            parts += [_fence(source, language)]
            for shown, count in _outputs(cell):
                seen += count
                left_out[_OUTPUTS] += count - count_characters(shown)
                parts += [_fence(shown, "")]
        elif kind == "heading":  # format 3
            level = cell.get("level")
            parts.append("#" * (level if isinstance(level, int) and 1 <= level <= 6 else 1) + " " + source)
        elif kind == "markdown":
            parsed = parse_markdown(source)
            parts.append(parsed["text"])
            title = title or parsed["title"]
            left_out.update(parsed["left_out"])
        else:
            parts.append(source)
    text = "\n\n".join(filter(None, map(str.strip, parts)))
    return make_parsed(text, title=title, left_out=left_out, seen=seen)


def _cells(notebook: Any) -> list[dict[str, Any]]:
    if isinstance(notebook, dict):
        sheets = notebook.get("worksheets") or [notebook]  # format 3 has sheets
        lists = [sheet.get("cells") for sheet in sheets if isinstance(sheet, dict)]
        if lists and all(isinstance(cells, list) for cells in lists):
            return [cell for cells in lists for cell in cells or () if isinstance(cell, dict)]
    raise Unreadable("broken: a notebook without cells")


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    info = metadata.get("language_info") if isinstance(metadata, dict) else None
    name = info.get("name") if isinstance(info, dict) else None
    return name if isinstance(name, str) and re.fullmatch(r"[\w+#-]{1,20}", name) else "python"


def _outputs(cell: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """Yield each text that a code cell put out, "" if it is left out, and its characters."""
    for output in cell.get("outputs") or []:
        if not isinstance(output, dict):
            continue
        data = output.get("data", output)
        data = data if isinstance(data, dict) else {}
        text = _text(data.get("text/plain", output.get("text"))) or _text(output.get("traceback"))
        text = unify_line_ends(remove_terminal_codes(text)).strip()
        is_result = (
            output.get("output_type") != "pyerr"
            and "traceback" not in output
            and "stderr" not in (output.get("name"), output.get("stream"))
            and not any(kind.startswith("image/") for kind in data)  # "<Figure size 640x480 with 1 Axes>"
        )
        yield (text if is_result and len(text) <= _LONG_OUTPUT else ""), count_characters(text)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""


def _fence(code: str, language: str) -> str:
    """Put code in a fence longer than any in it."""
    if not code.strip():
        return ""
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"
