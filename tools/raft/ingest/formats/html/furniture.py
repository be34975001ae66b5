"""Leave out what surrounds the text of a page: navigation, notices about cookies, heads and feet of the site.

What an element holds decides, not its tag: a menu is a block of links, whatever it is called, and a safety
warning in an <aside>, sources in a <footer> or sentences in a <nav> are text.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from .tree import (
    HEADINGS,
    LeftOut,
    attribute,
    characters,
    count_words,
    elements,
    has_prose,
    hints,
    is_copyright,
    is_linked,
    live,
    word_set,
)

NAVIGATION, FRAME, COOKIES = "navigation", "page heads and feet", "cookie notices"
# Names that the makers of pages give to blocks of links, in English as all names in HTML.
_LINK_BLOCKS = word_set(
    "nav navbar navbox navigation menu menubar topbar sidebar toc related recommended recommendations "
    "readmore similar popular trending tags categories prev next pager pagination "
    "footer header sitemap"
)
_NEVER_TEXT = frozenset(
    ("breadcrumb", "breadcrumbs", "share", "sharing", "social", "skip", "skiplink", "editsection")
)
_ROLES = {"navigation": "nav", "menu": "nav", "menubar": "nav", "banner": "header", "contentinfo": "footer",
          "complementary": "aside"}  # fmt: skip
_SECTIONS = ["article", "main", "section", "blockquote", "figure", "details", "td", "li"]
# The word is the same, or nearly, in most languages; then some that have their own.
_COOKIES = re.compile(r"cookie|кук[иа]|クッキー|쿠키|كوكيز|evästee|küpsis|vafrakök|süti|sütik", re.I)
_CONSENT = word_set("cookie cookies consent gdpr onetrust cmp privacy banner notice dialog modal popup")


def leave_out_furniture(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Leave out the blocks that hold no text of the page, and count them by what they are."""
    main = next((tag for tag in elements(soup) if tag.name == "main" or tag.get("role") == "main"), None)
    around_main = {id(tag) for tag in (main, *main.parents)} if main else set()
    for tag in live(soup.find_all("a")):
        if _skips(tag):
            left_out.drop(tag, NAVIGATION)
    size = characters(soup)
    for tag in live(elements(soup)):
        if tag.name in ("html", "body") or id(tag) in around_main:
            continue
        if reason := _reason(tag, size):
            left_out.drop(tag, reason)
        elif id(tag.parent) in around_main and tag.parent is not main and _is_menu(tag):
            left_out.drop(tag, NAVIGATION)


def _is_menu(tag: Tag) -> bool:
    """Return whether an element outside the main one is a block of links."""
    return tag.name not in HEADINGS and is_linked(tag)


def _reason(tag: Tag, size: int) -> str:
    """Return why an element is left out of a page of `size` characters, empty if it is text."""
    kind = _ROLES.get(attribute(tag, "role"), tag.name)
    names = hints(tag)
    if _is_cookie_notice(tag, kind, names):
        return COOKIES
    if kind == "nav":
        return NAVIGATION if is_linked(tag) or not has_prose(tag) else ""
    if not _NEVER_TEXT.isdisjoint(names) and tag.name not in HEADINGS:
        is_short = count_words(tag.get_text()) < 15 and not has_prose(tag)
        return NAVIGATION if is_linked(tag) or is_short else ""
    if kind in ("header", "footer"):
        return _reason_of_frame(tag, kind)
    if kind == "aside" or (
        tag.name in ("div", "ul", "ol", "section", "p") and not _LINK_BLOCKS.isdisjoint(names)
    ):
        return NAVIGATION if is_linked(tag) and (kind == "aside" or 2 * characters(tag) < size) else ""
    return ""


def _reason_of_frame(tag: Tag, kind: str) -> str:
    """Judge a header or footer: an article's belongs to it, that of a page has to hold text."""
    if tag.find_parent(_SECTIONS) is not None:
        return NAVIGATION if is_linked(tag) else ""
    if kind == "header" and any(map(_is_title, elements(tag, *HEADINGS))):
        return ""
    return "" if has_prose(tag) and not is_linked(tag) else FRAME


def _is_title(heading: Tag) -> bool:
    """Return whether a heading names the page, and not the site, which links to its first page."""
    if heading.find("a") is None and heading.find_parent("a") is None:
        return characters(heading) > 0
    is_only = heading.find_next("h1") is None and heading.find_previous("h1") is None
    return heading.name == "h1" and is_only and characters(heading) > 0


def _is_cookie_notice(tag: Tag, kind: str, names: set[str]) -> bool:
    named = kind in ("aside", "footer", "dialog", "div", "section", "form", "p") and not _CONSENT.isdisjoint(
        names
    )
    is_dialog = kind in ("aside", "dialog") or attribute(tag, "role") in ("dialog", "alertdialog", "alert")
    if not (named or is_dialog) or not _COOKIES.search(text := tag.get_text(" ")):
        return False
    return count_words(text) < 200 and tag.find("h1") is None and bool(elements(tag, "button", "input", "a"))


def _skips(link: Tag) -> bool:
    """Return whether a link leads to another place of the page without saying anything about it."""
    target = attribute(link, "href")
    if not target.startswith("#"):
        return False
    names = hints(link)
    if not names.isdisjoint(("skip", "skiplink")) or target in ("#top", "#main", "#content", "#main-content"):
        return True
    # The sign beside a heading that leads to the heading itself.
    return (
        bool(names & {"headerlink", "anchor", "permalink"})
        and link.find_parent(HEADINGS) is not None
        and (
            link.get_text(strip=True) != link.find_parent(HEADINGS).get_text(strip=True)  # type: ignore[union-attr]
        )
    )


def trim_frames(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Leave out the links and copyright notices of the headers and footers that hold text."""
    frames = [tag for tag in elements(soup, "header", "footer") if tag.find_parent(_SECTIONS) is None]
    for tag in live([part for frame in frames for part in elements(frame)]):
        if tag.name not in ("p", "div", "ul", "ol", "small") or elements(tag, *HEADINGS):
            continue
        if is_linked(tag) or is_copyright(tag.get_text()):
            left_out.drop(tag, FRAME)
