"""Leave out text that no reader sees, and keep what a reader opens: panels of tabs, answers to questions.

Both are hidden by the same means. What is hidden is text if the page has a visible control that opens it: a
tab, button or link that names it by its id or stands directly before it. What nothing opens is left out:
words for machines, traps for crawlers, prompts to a language model, dialogs, texts for screen readers.
"""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from .styles import declarations, hidden_by_sheets, hides, is_unseen_colour
from .tree import (
    BLOCKS,
    HEADINGS,
    LeftOut,
    attribute,
    characters,
    count_words,
    elements,
    has_class,
    hints,
    is_linked,
    live,
    word_set,
)

_FOR_SCREEN_READERS = word_set(
    "sr-only visually-hidden visuallyhidden screen-reader-text screen-reader-only screenreader-only "
    "a-offscreen offscreen assistive-text u-visually-hidden element-invisible"
)
_PANELS = word_set(
    "tab tabs tabpane pane tabpanel tabcontent panel accordion collapse collapsible expandable faq answer "
    "slide slides"
)
_OPENERS = word_set("question toggle trigger accordion collapsible expand expander")
_TABS = "role=tab"  # no id: where the tabs stand among the controls by id
_OVERLAYS = ("dialog", "alertdialog", "menu", "navigation", "search")
REASON = "hidden text"


def leave_out_hidden(soup: BeautifulSoup, sheets: str, left_out: LeftOut) -> None:
    """Leave out hidden text, and name each panel that a tab opens by the label of its tab."""
    by_sheet = hidden_by_sheets(soup, sheets)
    on_white = "background" not in sheets and not any(
        "stylesheet" in attribute(tag, "rel") for tag in soup.find_all("link")
    )
    size = characters(soup)
    opened = _opened(soup)
    _choose_twins(soup, left_out)
    for tag in live(elements(soup)):
        if tag.name in ("html", "body"):  # hidden until a script has run
            continue
        style = declarations(attribute(tag, "style")) if tag.has_attr("style") else {}
        if tag.name == "font" and attribute(tag, "color"):
            style = {"color": attribute(tag, "color").lower()}
        if is_unseen_colour(tag, style, on_white=on_white):
            left_out.drop(tag, REASON)
        elif (_is_hidden(tag, style) or id(tag) in by_sheet) and not (
            _can_be_opened(tag, opened) or _is_page(tag, size)
        ):
            _drop(tag, left_out)
    _label_panels(soup, opened, left_out)


def _is_page(tag: Tag, size: int) -> bool:
    """Return whether a hidden element holds nearly the whole page, so that a script is to show it."""
    return 10 * characters(tag) > 9 * size and bool(elements(tag, "p", *HEADINGS))


def _is_hidden(tag: Tag, style: dict[str, str]) -> bool:
    if tag.has_attr("hidden"):
        # React moves the parts of a page that arrive late out of hidden elements with such ids.
        return attribute(tag, "hidden") != "until-found" and not re.fullmatch(r"S:\w+", attribute(tag, "id"))
    if tag.name == "dialog" and not tag.has_attr("open"):
        return True
    if style.get("opacity") and any(name.startswith("data-") for name in tag.attrs):
        style = {**style, "opacity": ""}  # a block that a script lets fade in
    if hides(style):
        return True
    if attribute(tag, "aria-hidden") == "true":
        # A browser shows it: the name of an icon, or a number or text that a program has marked so.
        text = tag.get_text()
        is_ornament = count_words(text) < 5 and not re.search(r"\d", text)
        return is_ornament or not {"modal", "dialog", "overlay"}.isdisjoint(hints(tag))
    return _is_for_screen_readers(tag)


def _is_for_screen_readers(tag: Tag) -> bool:
    return has_class(tag, _FOR_SCREEN_READERS)


def _choose_twins(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Keep one of two elements that say the same, one for the eye, one for screen readers: the latter."""
    for tag in live([tag for tag in elements(soup) if tag.get("aria-hidden") == "true"]):
        for twin in (tag.find_previous_sibling(), tag.find_next_sibling()):
            if isinstance(twin, Tag) and _is_for_screen_readers(twin) and characters(tag):
                del twin["class"]
                left_out.drop(tag, REASON)
                break


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
    for control in filter(_is_any_control, elements(soup)):
        if control.get("role") == "tab":
            opened.setdefault(_TABS, []).append(control)
        for name in _targets(control):
            opened.setdefault(name, []).append(control)
    return opened


def _is_any_control(tag: Tag) -> bool:
    return (
        tag.name in ("a", "button", "summary", "label")
        or tag.get("role") in ("tab", "button")
        or any(tag.has_attr(name) for name in ("aria-controls", "aria-expanded", "onclick"))
    )


def _targets(control: Tag) -> list[str]:
    """Return the ids that a control names as what it opens."""
    names = attribute(control, "aria-controls").split()
    names += re.findall(r"['\"]#?([\w:.-]+)['\"]", attribute(control, "onclick"))
    names.append(attribute(control, "href").rpartition("#")[2])
    names += [str(value).lstrip("#") for name, value in control.attrs.items() if name.startswith("data-")]
    return [name for name in names if name]


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
    if is_linked(tag):  # a menu
        return False
    return _named(tag, opened) or _follows_control(tag)


def _named(tag: Tag, opened: dict[str, list[Tag]]) -> bool:
    names = filter(None, (attribute(tag, "id"), attribute(tag, "data-tab"), attribute(tag, "data-content")))
    controls = [control for name in names for control in live(opened.get(name, []))]
    return any(all(part is not tag for part in (control, *control.parents)) for control in controls)


def _follows_control(tag: Tag) -> bool:
    """Return whether a control stands directly before a hidden element, or a row of tabs before its group."""
    before = tag.find_previous_sibling()
    if isinstance(before, Tag) and tag.name in BLOCKS and _is_control(before):
        return True
    after = tag.find_next_sibling()
    if isinstance(after, Tag) and after.has_attr("onclick") and not tag.find_parent("form"):  # "read more"
        return True
    if not _PANELS.isdisjoint(hints(tag)):
        return isinstance(before, Tag) and (before.name in HEADINGS or _PANELS & hints(before) != set())
    return False


def _is_control(tag: Tag) -> bool:
    """Return whether an element is, or holds little but, a button that opens something, or is a question."""
    if (
        tag.name in ("button", "summary", "dt")
        or (tag.name == "label" and tag.find_parent("form") is None)
        or attribute(tag, "role") in ("button", "tab")
        or tag.has_attr("aria-expanded")
        or not _OPENERS.isdisjoint(hints(tag))
        or (tag.name in HEADINGS and tag.get_text().rstrip().endswith(("?", "？", "؟")))
    ):
        return True
    inner = tag.find("button") or tag.find("summary") or tag.find(True, {"aria-expanded": True})
    return isinstance(inner, Tag) and 2 * characters(inner) > characters(tag)


def _label_panels(soup: BeautifulSoup, opened: dict[str, list[Tag]], left_out: LeftOut) -> None:
    """Move the label of each tab to the head of its panel, so that the text says what it is about."""
    by_id = {attribute(tag, "id"): tag for tag in elements(soup) if tag.has_attr("id")}
    labels: list[tuple[Tag, Tag]] = []
    for panel in [tag for tag in elements(soup) if tag.has_attr("id") or tag.get("role") == "tabpanel"]:
        if attribute(panel, "role") == "tabpanel" or attribute(panel, "id") in opened:
            named_by = by_id.get(attribute(panel, "aria-labelledby"))
            controls = [named_by] if named_by else opened.get(attribute(panel, "id"), [])
            labels += [(control, panel) for control in list(live(controls))[:1] if _is_tab(control)]
    if not labels:
        tabs, panels = list(live(opened.get(_TABS, []))), soup.find_all(role="tabpanel")
        labels = list(zip(tabs, panels, strict=True)) if len(tabs) == len(panels) else []
    for tab, panel in labels:
        text = "" if tab.decomposed else tab.get_text(" ", strip=True)
        if not text or any(part is panel for part in (*tab.parents, *elements(tab))):
            continue
        if panel.get_text(" ", strip=True).startswith(text):
            left_out.drop(tab, "navigation")
        else:
            label = soup.new_tag("p")
            label.string = f"{text}:"
            panel.insert(0, label)
            tab.decompose()


def _is_tab(control: Tag) -> bool:
    """Return whether a control stands in a row of tabs, and not before what it opens."""
    if attribute(control, "role") == "tab":
        return True
    return any(
        {"tab", "tabs", "tablist", "pills"} & hints(parent) for parent in [control, *control.parents][:4]
    )
