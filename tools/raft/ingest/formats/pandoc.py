"""Run pandoc: a file in one of its formats in, HTML out. It is a program of its own, not a library."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lxml import html

from .parsed import Unreadable

try:
    import resource
except ImportError:  # not POSIX
    resource = None  # type: ignore[assignment]

_WALL_SECONDS = 1800  # where the system cannot limit processor time, pandoc ends some time all the same
_DEFAULT_HEAP = 1024**3
_HEAP_EXHAUSTED = 251  # exit status of programs compiled by GHC


class Conversion(NamedTuple):
    """What pandoc made of a file."""

    html: str
    messages: str  # of what it skipped or did not find; only with --verbose


def convert_to_html(data: bytes, kind: str, *more: str) -> Conversion:
    """Convert a file of a format that pandoc knows as `kind`; formulas become TeX in \\(…\\) and \\[…\\].

    It reads no other file and leaves none, and has the limits of this process. Raises Unreadable if the
    file is broken, MemoryError, or ImportError if pandoc is not installed.
    """
    options = ["--sandbox", "--wrap=none", "--mathjax", "--reference-location=section"]
    process = subprocess.run(
        [_find(), "+RTS", f"-M{_heap()}", "-RTS", *options, *more, "--from", kind, "--to", "html"],
        input=data,
        capture_output=True,
        timeout=_WALL_SECONDS,
        check=False,
    )
    if hasattr(signal, "SIGXCPU") and process.returncode == -signal.SIGXCPU:
        signal.raise_signal(signal.SIGXCPU)  # its limit is ours: this process ends as if it had been slow
    if process.returncode == _HEAP_EXHAUSTED or b"heap overflow" in process.stderr.lower():
        raise MemoryError
    if process.returncode:
        line = re.search(r"\(line (\d+), column \d+\)", process.stderr.decode("utf-8", "replace"))
        raise Unreadable(f"broken: its parts cannot be converted{f' (line {line[1]})' if line else ''}")
    return Conversion(process.stdout.decode("utf-8", "replace"), process.stderr.decode("utf-8", "replace"))


def place_notes(markup: str) -> str:
    """Return pandoc's HTML with "[1]" where it refers to a footnote, and at the note itself."""
    if "footnote" not in markup:
        return markup
    root = html.fragment_fromstring(markup, create_parent="div", parser=html.HTMLParser(huge_tree=True))
    for reference in root.findall(".//a[@class='footnote-ref']"):
        _replace_by_text(reference, f"[{reference.text_content()}]")
    for link in root.findall(".//a[@class='footnote-back']"):
        _replace_by_text(link, "")
    for notes in root.xpath(".//*[contains(@class, 'footnotes')]"):
        notes.tag = "div"
        notes.attrib.clear()
        for note in notes.findall("./ol/li"):
            first = note.find("p") if note.find("p") is not None else note
            first.text = f"[{(note.get('id') or '').removeprefix('fn')}] {first.text or ''}"
            note.tag = "div"
            note.attrib.clear()
            notes.append(note)
        for element in (*notes.findall("hr"), *notes.findall("ol")):
            element.drop_tree()
    return html.tostring(root, encoding="unicode")


def _replace_by_text(element: Any, text: str) -> None:
    element.tail = text + (element.tail or "")
    element.drop_tree()


def _find() -> str:
    """Return the program of the package pypandoc-binary, else the one that the system has."""
    package = find_spec("pypandoc")
    if package and package.origin:
        folder = Path(package.origin).parent / "files"
        for name in ("pandoc", "pandoc.exe"):
            if (folder / name).is_file():
                return str(folder / name)
    if program := shutil.which("pandoc"):
        return program
    raise ImportError("pandoc is not installed", name="pypandoc-binary")


def _heap() -> int:
    """Return how many bytes of objects pandoc may hold: half of the address space, if that is limited."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0] if resource else -1
    return limit // 2 if limit > 0 and limit != getattr(resource, "RLIM_INFINITY", -1) else _DEFAULT_HEAP
