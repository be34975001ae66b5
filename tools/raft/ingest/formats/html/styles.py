"""Tell from styles, inline or in the page's own style sheets, which elements no reader sees."""

from __future__ import annotations

import re
from collections.abc import Iterator

import soupsieve
from bs4 import BeautifulSoup, Tag

from .tree import attribute, elements

MAX_TRIED = 100_000  # elements that are compared with selectors of style sheets
# A selector without states: what a page shows when the pointer is over it says nothing about what it hides.
_SELECTOR = re.compile(r"[\w\s.#>+~*=\"'\[\]-]+")
_WHITE = re.compile(r"white|#fff|#(?:f[c-f]){3}|rgb\(\s*255\s*,\s*255\s*,\s*255\s*\)|transparent", re.I)
_LENGTH = re.compile(r"(-?\d*\.?\d+)(px|pt|r?em|ex|%|vw|vh|in|cm|)")
_FAR = {
    "px": 999,
    "pt": 750,
    "em": 60,
    "rem": 60,
    "ex": 120,
    "%": 100,
    "vw": 100,
    "vh": 100,
    "in": 10,
    "cm": 25,
}
_TINY = {"": 0, "px": 1, "pt": 1, "em": 0.1, "rem": 0.1, "%": 10}


def declarations(style: str) -> dict[str, str]:
    """Return the properties of a style, in lower case."""
    pairs = (part.partition(":") for part in style.lower().split(";"))
    return {name.strip(): value.replace("!important", "").strip() for name, _, value in pairs}


def hides(style: dict[str, str]) -> bool:
    """Return whether a style keeps text from being seen: not shown, without size, far outside, cut off."""
    if style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse"):
        return True
    if style.get("mso-hide") == "all" or _is_tiny(style.get("font-size", "")):
        return True
    # With a transition or a transform it is a block that fades in.
    if (
        re.fullmatch(r"0?\.?0+%?", style.get("opacity", ""))
        and not {"transition", "transform"} & style.keys()
    ):
        return True
    if _is_far(style.get("text-indent", "")):
        return True
    if style.get("position") in ("absolute", "fixed"):
        cut = f"{style.get('clip', '')} {style.get('clip-path', '')}"
        if any(_is_far(style.get(side, "")) for side in ("left", "top", "right", "bottom")):
            return True
        if re.search(r"rect\(\s*[01](?:px)?[\s,]+[01](?:px)?\b|inset\(\s*(?:50|100)%", cut):
            return True
    if "hidden" in (style.get("overflow"), style.get("overflow-y")):
        sizes = (style.get(name, "") for name in ("height", "width", "max-height", "max-width"))
        return any(re.fullmatch(r"[01](?:px)?", size) for size in sizes)
    return False


def is_unseen_colour(tag: Tag, style: dict[str, str], *, on_white: bool) -> bool:
    """Return whether text has the colour of its ground; on_white: no style sheet gives it another one."""
    if any(name.endswith("background-clip") for name in style):  # letters cut out of a picture
        return False
    colour = style.get("color", "")
    if not colour:
        return False
    ground = style.get("background-color") or style.get("background") or ""
    if not ground and on_white and not any(_has_ground(parent) for parent in (tag, *tag.parents)):
        ground = "white"
    if not ground:
        return colour == "transparent"
    return colour == ground or (_WHITE.fullmatch(colour) is not None and _WHITE.fullmatch(ground) is not None)


def _has_ground(tag: Tag) -> bool:
    return "background" in attribute(tag, "style") or tag.has_attr("bgcolor") or tag.has_attr("background")


def hidden_by_sheets(soup: BeautifulSoup, sheets: str) -> set[int]:
    """Return the ids (of Python) of the elements that the page's own style sheets hide.

    The last rule that says something about an element wins; selectors with states are left aside.
    """
    hidden: set[int] = set()
    named: dict[str, list[Tag]] = {}
    if "{" in sheets:
        for tag in elements(soup):
            classes = [f".{name}" for name in attribute(tag, "class").split()]
            for name in {tag.name, f"#{attribute(tag, 'id')}", *classes}:
                named.setdefault(name, []).append(tag)
    tried = 0
    for selector, style in _rules(sheets):
        is_hiding = hides(style)
        if not _SELECTOR.fullmatch(selector) or not (is_hiding or (hidden and _shows(style))):
            continue
        candidates = named.get(_last_name(selector), [])
        tried += len(candidates)
        if tried > MAX_TRIED:
            break
        selected = {id(tag) for tag in _matching(selector, candidates)}
        hidden = hidden | selected if is_hiding else hidden - selected
    return hidden


def _shows(style: dict[str, str]) -> bool:
    names = (
        "display",
        "visibility",
        "opacity",
        "height",
        "max-height",
        "font-size",
        "position",
        "left",
        "top",
    )
    return any(name in style for name in names)


def _last_name(selector: str) -> str:
    """Return the id, class or name that what a selector selects must have: ".x" of "div > p.x"."""
    last = re.split(r"[\s>+~]+", selector)[-1]
    found = re.search(r"[#.][\w-]+", last) or re.match(r"[\w-]+", last)
    return found.group(0) if found else ""


def _matching(selector: str, candidates: list[Tag]) -> list[Tag]:
    if not candidates or len(selector) > 200:
        return []
    try:
        pattern = soupsieve.compile(selector)
    except soupsieve.SelectorSyntaxError:
        return []
    return [tag for tag in candidates if pattern.match(tag)]


def _rules(sheets: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Return selector and style of each rule that holds on a screen."""
    sheets = re.sub(r"/\*.*?(?:\*/|\Z)", "", sheets, flags=re.S)
    outer: list[str] = []
    for text, brace in re.findall(r"([^{}]*)([{}]|\Z)", sheets):
        if brace == "{":
            outer.append(text.rpartition(";")[2].strip())
            continue
        if brace == "}" and outer:
            heads, selectors = outer[:-1], outer.pop()
            if all(
                re.match(r"@media\s+(?:all|screen|only screen)\s*$|@layer|@supports", head) for head in heads
            ):
                style = declarations(text)
                yield from (
                    (selector.strip(), style) for selector in selectors.split(",") if selector.strip()
                )


def sheets_of(soup: BeautifulSoup) -> str:
    """Return the text of the page's own style sheets for screens."""
    sheets = [tag for tag in soup.find_all("style") if attribute(tag, "media") in ("", "all", "screen")]
    return "\n".join(tag.get_text() for tag in sheets)


def _is_tiny(size: str) -> bool:
    found = _LENGTH.fullmatch(size)
    return found is not None and found.group(2) in _TINY and float(found.group(1)) <= _TINY[found.group(2)]


def _is_far(offset: str) -> bool:
    found = _LENGTH.fullmatch(offset)
    return found is not None and found.group(2) in _FAR and float(found.group(1)) <= -_FAR[found.group(2)]
