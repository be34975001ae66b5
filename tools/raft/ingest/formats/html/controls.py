"""Leave out buttons and empty fields; keep what was filled in, and the questions in buttons."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag

from .tree import (
    BLOCKS,
    HEADINGS,
    LeftOut,
    attribute,
    characters,
    count_words,
    elements,
    has_prose,
    hints,
    live,
    text_before,
    word_set,
    write,
)

REASON = "forms and buttons"
_SHOWN = frozenset(
    ("", "text", "number", "date", "time", "datetime-local", "month", "week", "tel", "url", "email")
)
_OPENERS = word_set("accordion collapse collapsible collapsed faq question expand expander toggle disclosure")
_BUTTON_ROLES = ("button", "switch", "menuitem")
_SEARCH = frozenset(
    ("search", "searchform", "searchbox", "newsletter", "subscribe", "signup", "login", "signin")
)


def leave_out_controls(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Leave out forms without text, buttons that do something, and choices not made."""
    for form in live(
        [tag for tag in elements(soup) if tag.name in ("form", "search") or tag.get("role") == "search"]
    ):
        if _is_mere_form(form):
            left_out.drop(form, REASON)
    filled = {
        attribute(tag, "id")
        for tag in elements(soup)
        if tag.has_attr("id") and tag.find(string=re.compile(r"\w"))
    }
    for button in live(
        [tag for tag in elements(soup) if tag.name == "button" or tag.get("role") in _BUTTON_ROLES]
    ):
        if _is_heading(button, filled):
            button.name = (
                "p" if button.name == "button" and button.find_parent(HEADINGS) is None else button.name
            )
        elif button.name == "button" or count_words(button.get_text()) < 5:
            left_out.drop(button, REASON)
    for choice in live(elements(soup, "select", "datalist")):
        for option in live(choice.find_all("option")):
            if not option.has_attr("selected"):
                left_out.drop(option, REASON)
        write(choice, _apart(choice, choice.get_text(" ", strip=True)))
    for field in live(soup.find_all("textarea")):
        field.name = "div"
    for field in live(soup.find_all("input")):
        write(field, _apart(field, _value(field)))


def _apart(field: Tag, text: str) -> str:
    """Set what a field holds apart from the words around it."""
    if not text:
        return ""
    before, after = text_before(field)[-1:], str(field.next_sibling or " ")[:1]
    return " " * (before != "" and not before.isspace()) + text + " " * (not after.isspace())


def _value(field: Tag) -> str:
    kind = attribute(field, "type").lower()
    if kind in ("checkbox", "radio"):
        box = "[x]" if field.has_attr("checked") else "[ ]"
        return box if _is_named(field) else ""
    return attribute(field, "value") if kind in _SHOWN else ""


def _is_named(box: Tag) -> bool:
    """Return whether a box to tick stands beside the words that it is about; others open menus."""
    if box.parent is not None and box.parent.name in ("label", "li", "td", "th"):
        return True
    beside = box.next_sibling
    return (isinstance(beside, Tag) and beside.name == "label") or bool(str(beside or "").strip())


def _is_mere_form(form: Tag) -> bool:
    """Return whether a form holds fields and their names only: a search, a login, an order of newsletters."""
    words = count_words(form.get_text(" "))
    if attribute(form, "role") == "search" or form.name == "search" or not _SEARCH.isdisjoint(hints(form)):
        return words < 60 and form.find("h1") is None
    if words > 30 or elements(form, *HEADINGS, "table"):
        return False
    is_filled = any(attribute(field, "type").lower() in _SHOWN and attribute(field, "value")
                    for field in form.find_all("input"))  # fmt: skip
    return not is_filled and not has_prose(form) and bool(elements(form, "input", "select", "textarea"))


def _is_heading(button: Tag, filled: set[str]) -> bool:
    """Return whether a button is text: a question, a card, the heading of what it opens (`filled`: ids)."""
    text = button.get_text(" ", strip=True)
    if not text:
        return False
    if button.find_parent([*HEADINGS, "dt", "summary"]) is not None or elements(
        button, *HEADINGS, "p", "ul", "table"
    ):
        return True
    if re.search(r"[?？؟;]$", text) or count_words(text) >= 8:
        return True
    opens = button.has_attr("aria-expanded") or button.has_attr("aria-controls")
    opens = opens or bool(_OPENERS & hints(button)) or any("toggle" in name for name in button.attrs)
    target = attribute(button, "aria-controls")
    return opens and (target in filled if target else _follows(button))


def _follows(button: Tag) -> bool:
    """Return whether a block with text stands directly after a button, or after what holds only that."""
    holder = button
    while holder.parent is not None and _is_alone(holder):
        holder = holder.parent
    following = holder.find_next_sibling()
    return isinstance(following, Tag) and following.name in BLOCKS and characters(following) > 0


def _is_alone(tag: Tag) -> bool:
    beside = (sibling for siblings in (tag.previous_siblings, tag.next_siblings) for sibling in siblings)
    return not any(isinstance(sibling, Tag) or str(sibling).strip() for sibling in beside)
