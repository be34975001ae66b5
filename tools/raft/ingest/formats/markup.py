"""Convert HTML to Markdown: text, headings, lists and tables; no links, images or emphasis."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .parsed import Parsed, make_parsed

if TYPE_CHECKING:
    from bs4 import BeautifulSoup

_BOILERPLATE = (
    "script, style, noscript, template, svg, iframe, object, form, button, nav, footer, aside, [hidden], "
    "[aria-hidden=true], [role=navigation], [role=search], [role=banner], [role=contentinfo], "
    ".mw-editsection, .navbox, sup.reference, .headerlink"
)
_INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])", re.I)


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
