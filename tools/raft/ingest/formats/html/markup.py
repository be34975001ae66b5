"""Convert HTML to Markdown: text, headings, lists, tables and formulas; no links, images or emphasis."""

from __future__ import annotations

import re
from html import escape

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from ..parsed import Parsed, make_parsed
from .controls import leave_out_controls
from .convert import to_text
from .furniture import leave_out_furniture, trim_frames
from .hidden import leave_out_hidden
from .layout import name_tables, unwrap_layout
from .maths import write_formulas
from .scripts import write_scripts
from .styles import sheets_of
from .tree import HEADINGS, LeftOut, attribute, characters, count_words, elements, live, parse_tree

_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*>")  # the parser would warn that the page is no HTML
_CDATA = re.compile(r"<!\[CDATA\[(.*?)\]\]>", re.DOTALL)  # text in XML, a comment in HTML
_CODE = ["script", "style", "template", "iframe", "head", "title", "meta", "link"]
_LEFT_OUT = {
    **dict.fromkeys(("del", "s", "strike"), "struck text"),
    "svg": "text in drawings",
    **dict.fromkeys(("object", "canvas", "video", "audio", "noframes"), "texts in place of media"),
}


def parse_markup(markup: str) -> Parsed:
    """Convert HTML to plain Markdown, for all formats made of HTML.

    What is no text of the page is left out and counted by reason: hidden text, navigation, buttons. A formula
    counts once, however many forms of it the page holds; scripts and style sheets do not count.
    """
    if declaration := _XML_DECLARATION.match(markup):
        markup = _CDATA.sub(lambda match: escape(match.group(1)), markup[declaration.end() :])
    soup = parse_tree(markup)
    for template in soup.find_all("template", shadowrootmode=True):  # shown, unlike other templates
        template.name = "div"
    title = _title(soup)
    sheets = sheets_of(soup)
    _open_frames(soup)
    notes = write_formulas(soup)
    for tag in live(elements(soup, *_CODE)):
        tag.decompose()
    seen, left_out = characters(soup), LeftOut()
    _choose_fallback(soup, left_out)
    leave_out_hidden(soup, sheets, left_out)
    leave_out_furniture(soup, left_out)
    trim_frames(soup, left_out)
    leave_out_controls(soup, left_out)
    for tag in live(elements(soup, *_LEFT_OUT)):
        left_out.drop(tag, _LEFT_OUT[tag.name])
    write_scripts(soup, left_out)
    _write_readings(soup)
    _name_pictures(soup)
    name_tables(soup)
    unwrap_layout(soup, left_out)
    heading = soup.find("h1")
    if not title and isinstance(heading, Tag):
        title = heading.get_text(" ", strip=True)
    return make_parsed(to_text(soup), title=title, notes=notes, left_out=left_out, seen=seen)


def _title(soup: BeautifulSoup) -> str:
    titles = (tag for tag in soup.find_all("title", limit=5) if tag.find_parent("svg") is None)
    return next((" ".join(tag.get_text().split()) for tag in titles), "")


def _open_frames(soup: BeautifulSoup) -> None:
    """Put the page that a frame holds in an attribute in its place."""
    for frame in live(soup.find_all("iframe", srcdoc=True)):
        body = parse_tree(attribute(frame, "srcdoc")).find("body")
        if isinstance(body, Tag):
            body.name = "div"
            frame.replace_with(body.extract())


def _choose_fallback(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Leave out what stands there for browsers without scripts, unless it is the text of the page."""
    fallbacks = soup.find_all("noscript")
    size = sum(map(characters, fallbacks))
    is_text = 2 * size > characters(soup) and any(count_words(tag.get_text()) > 40 for tag in fallbacks)
    for tag in live(fallbacks):
        if is_text:
            tag.name = "div"
        else:
            left_out.drop(tag, "texts for browsers without scripts")


def _write_readings(soup: BeautifulSoup) -> None:
    """Write the readings of characters in brackets after the word: 東京(とうきょう)."""
    for ruby in live(soup.find_all("ruby")):
        for bracket in ruby.find_all("rp"):
            bracket.unwrap() if characters(bracket) else bracket.decompose()
        readings = "".join(reading.extract().get_text().strip() for reading in elements(ruby, "rt", "rtc"))
        if readings:
            ruby.append(NavigableString(f"({readings})"))


def _name_pictures(soup: BeautifulSoup) -> None:
    """Let the name of a picture stand for it where it is all that a heading or a cell holds."""
    for picture in soup.find_all("img", alt=True):
        holder = picture.find_parent([*HEADINGS, "td", "th"])
        if holder is not None and not holder.get_text(strip=True):
            picture.replace_with(NavigableString(str(picture["alt"])))
