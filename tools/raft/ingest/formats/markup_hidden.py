"""Leave out text that no reader sees, and keep what a reader opens: panels of tabs, answers to questions.

Both are hidden by the same means. What is hidden is text if the page has a visible control that opens it: a
tab, button or link that names it by its id or stands directly before it. What nothing opens is left out:
words for machines, traps for crawlers, prompts to a language model, dialogs, texts for screen readers.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from .markup_styles import declarations, hidden_by_sheets, hides, is_unseen_colour
from .markup_tree import HEADINGS, LeftOut, attribute, characters, count_words, hints, live, word_set

_FOR_SCREEN_READERS = word_set(
    "sr-only visually-hidden visuallyhidden screen-reader-text screen-reader-only screenreader-only "
    "a-offscreen offscreen assistive-text u-visually-hidden element-invisible"
)
_CONTROLS = (
    "a, button, summary, label, [role=tab], [role=button], [aria-controls], [aria-expanded], [onclick]"
)
_PANELS = word_set(
    "tab tabs tabpane pane tabpanel tabcontent panel accordion collapse collapsible expandable faq answer"
)
_TABS = "[role=tab]"
_OVERLAYS = ("dialog", "alertdialog", "menu", "navigation", "search")
REASON = "hidden text"


def leave_out_hidden(soup: BeautifulSoup, sheets: str, left_out: LeftOut) -> None:
    """Leave out hidden text, and name each panel that a tab opens by the label of its tab."""
    by_sheet = hidden_by_sheets(soup, sheets)
    on_white = (
        "background" not in sheets
        and soup.select_one("[bgcolor], [background], [style*=background], link[rel=stylesheet]") is None
    )
    main = soup.find("main")
    whole = {id(tag) for tag in (*(main.parents if isinstance(main, Tag) else ()), main)}
    opened = _opened(soup)
    for tag in live(soup.find_all(True)):
        if tag.name in ("html", "body") or id(tag) in whole:  # hidden until a script has run
            continue
        style = declarations(attribute(tag, "style")) if tag.has_attr("style") else {}
        if tag.name == "font" and attribute(tag, "color"):
            style = {"color": attribute(tag, "color").lower()}
        if is_unseen_colour(style, on_white=on_white):
            left_out.drop(tag, REASON)
        elif (_is_hidden(tag, style) or id(tag) in by_sheet) and not _can_be_opened(tag, opened):
            _drop(tag, left_out)
    _label_panels(soup)


def _is_hidden(tag: Tag, style: dict[str, str]) -> bool:
    if tag.has_attr("hidden"):
        # React moves the parts of a page that arrive late out of hidden elements with such ids.
        return attribute(tag, "hidden") != "until-found" and not re.fullmatch(r"S:\w+", attribute(tag, "id"))
    if tag.name == "dialog" and not tag.has_attr("open"):
        return True
    if hides(style):
        return not ("opacity" in style and any(name.startswith("data-") for name in tag.attrs))
    if _is_for_screen_readers(tag):
        return not any(attribute(twin, "aria-hidden") == "true" and characters(twin) for twin in _beside(tag))
    if attribute(tag, "aria-hidden") == "true":
        # It is visible: an ornament, something said twice, or a text that a program has marked so.
        has_twin = any(_is_for_screen_readers(twin) for twin in _beside(tag))
        return (
            has_twin
            or count_words(tag.get_text()) < 5
            or {"modal", "dialog", "overlay"} & hints(tag) != set()
        )
    return False


def _is_for_screen_readers(tag: Tag) -> bool:
    return not _FOR_SCREEN_READERS.isdisjoint(attribute(tag, "class").split())


def _beside(tag: Tag) -> list[Tag]:
    beside = (tag.find_previous_sibling(), tag.find_next_sibling())
    return [other for other in beside if isinstance(other, Tag)]


def _drop(tag: Tag, left_out: LeftOut) -> None:
    """Leave out a hidden element; a cell keeps its place, unless it takes none."""
    if tag.name in ("td", "th") and "display" not in attribute(tag, "style"):
        left_out[REASON] += characters(tag)
        tag.clear()
    else:
        left_out.drop(tag, REASON)


def _opened(soup: BeautifulSoup) -> dict[str, list[Tag]]:
    """Return the controls of the page by the id of what they open."""
    opened: dict[str, list[Tag]] = {}
    if tabs := list(soup.select(_TABS)):
        opened[_TABS] = tabs
    for control in soup.select(_CONTROLS):
        names = attribute(control, "aria-controls").split()
        names += re.findall(r"['\"]#?([\w:.-]+)['\"]", attribute(control, "onclick"))
        names.append(attribute(control, "href").rpartition("#")[2])
        names += [str(value).lstrip("#") for name, value in control.attrs.items() if name.startswith("data-")]
        for name in filter(None, names):
            opened.setdefault(name, []).append(control)
    return opened


def _can_be_opened(tag: Tag, opened: dict[str, list[Tag]]) -> bool:
    """Return whether a visible control outside a hidden element opens it."""
    if (
        tag.name in ("nav", "dialog", "td", "th")
        or attribute(tag, "role") in _OVERLAYS
        or tag.has_attr("aria-modal")
    ):
        return False
    if {"modal", "dialog", "popup", "cookie", "consent"} & hints(tag):
        return False
    if attribute(tag, "role") == "tabpanel" and _TABS in opened:
        return True
    return _named(tag, opened) or _follows_control(tag)


def _named(tag: Tag, opened: dict[str, list[Tag]]) -> bool:
    names = filter(None, (attribute(tag, "id"), attribute(tag, "data-tab"), attribute(tag, "data-content")))
    controls = [control for name in names for control in opened.get(name, [])]
    return any(control is not tag and tag not in control.parents for control in controls)


def _follows_control(tag: Tag) -> bool:
    """Return whether a control stands directly before a hidden element, or a row of tabs before its group."""
    before = tag.find_previous_sibling()
    if isinstance(before, Tag) and _is_control(before):
        return True
    if not _PANELS.isdisjoint(hints(tag)):
        return isinstance(before, Tag) and (
            before.name in (*HEADINGS, "dt") or _PANELS & hints(before) != set()
        )
    return False


def _is_control(tag: Tag) -> bool:
    """Return whether an element is, or holds little but, a button that opens something."""
    if (
        tag.name in ("button", "summary")
        or attribute(tag, "role") in ("button", "tab")
        or tag.has_attr("aria-expanded")
    ):
        return True
    inner = tag.find(["button", "summary"]) or tag.select_one("[aria-expanded]")
    return isinstance(inner, Tag) and 2 * characters(inner) > characters(tag)


def _label_panels(soup: BeautifulSoup) -> None:
    """Move the label of each tab to the head of its panel, so that the text says what it is about."""
    panels = {attribute(panel, "id"): panel for panel in soup.select("[role=tabpanel][id]")}
    panels |= {
        attribute(panel, "aria-labelledby"): panel
        for panel in soup.select("[role=tabpanel][aria-labelledby]")
    }
    for tablist in soup.select("[role=tablist]"):
        tabs = tablist.select(_TABS)
        following = tablist.find_all_next(attrs={"role": "tabpanel"}, limit=len(tabs))
        named: list[Tag | None] = [
            panels.get(attribute(tab, "aria-controls")) or panels.get(attribute(tab, "id")) for tab in tabs
        ]
        if not any(named) and len(following) == len(tabs):
            named = list(following)
        for tab, panel in zip(tabs, named, strict=True):
            if panel is not None:
                label = soup.new_tag("p")
                label.string = f"{tab.get_text(' ', strip=True)}:"
                panel.insert(0, label)
                tab.decompose()
