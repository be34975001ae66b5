"""Read HTML and DOCX as Markdown: text, headings, lists and tables; no links, images or emphasis."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parsed import Parsed, Unreadable, make_parsed
from .plain import decode

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

MAX_UNPACKED = 200 * 1024**2  # bytes a DOCX may unpack to

_BOILERPLATE = (
    "script, style, noscript, template, svg, iframe, object, form, button, nav, footer, aside, [hidden], "
    "[aria-hidden=true], [role=navigation], [role=search], [role=banner], [role=contentinfo], "
    ".mw-editsection, .navbox, sup.reference, .headerlink"
)
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])", re.I)
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


def read_docx(path: str) -> Parsed:
    """Read a Word document: headings, lists, tables and footnotes, no images.

    Raises Unreadable if it is broken, encrypted, or unpacks to more than MAX_UNPACKED.
    """
    import mammoth

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError):
        raise Unreadable("broken: not a DOCX that can be unpacked") from None
    if size > MAX_UNPACKED:
        raise Unreadable(f"unpacks to {size // 1024**2} MiB, over the limit of {MAX_UNPACKED // 1024**2} MiB")
    if "[Content_Types].xml" not in names:
        raise Unreadable("broken: a ZIP file, but no DOCX")
    with Path(path).open("rb") as file:
        try:
            markup = mammoth.convert_to_html(
                file,
                style_map="p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => h2:fresh",
                convert_image=lambda image: [],  # by default, every picture is inlined as base64
            ).value
        except (MemoryError, RecursionError):
            raise
        except Exception as error:  # the library has no exception class of its own
            raise Unreadable(f"broken: its parts cannot be read ({type(error).__name__})") from None
    return parse_markup(markup)


def parse_markup(markup: str) -> Parsed:
    """Convert HTML to plain Markdown, without boilerplate and hidden parts; for all formats made of HTML."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    soup = BeautifulSoup(markup, "html.parser")
    title = soup.title.get_text(" ", strip=True) if soup.title else ""
    for tag in soup.select(_BOILERPLATE):
        tag.decompose()
    for tag in soup.find_all(style=_INVISIBLE):
        tag.decompose()
    for tag in soup.find_all("sup", string=re.compile(r"^\s*\[\w{1,4}\]\s*$")):
        tag.decompose()
    for tag in soup.find_all(["title", "meta", "link"]):
        tag.decompose()
    text = MarkdownConverter(
        heading_style="ATX",
        bullets="-",
        strip=["a", "img", "b", "strong", "i", "em"],  # quotes are compared with the plain words
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        table_infer_header=True,
    ).convert_soup(_main(soup))
    text = re.sub(r"[ \t]+\n", "\n", text.replace("\xa0", " "))
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    if not title and (heading := soup.find("h1")):
        title = heading.get_text(" ", strip=True)
    return make_parsed(text, title=title)


def _main(soup: BeautifulSoup) -> Any:
    """Return the main element if it holds more than half of the text, else the whole page."""
    main = soup.select_one("main, [role=main]")
    if main and len(main.get_text()) * 2 > len(soup.get_text()):
        return main
    return soup
