"""Look at the tree of an HTML page and take parts out of it: what the steps of markup.py share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString, PageElement, Script, Stylesheet

from ....text.normalise import UNSPACED
from ..parsed import count_characters


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text as a set: shorter than a list of quoted words."""
    return frozenset(text.split())


HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
BLOCKS = word_set(
    "address article aside blockquote body br caption center dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr html legend li main menu nav ol p pre section "
    "summary table tbody td tfoot th thead tr ul [document]"
)
MAX_DEPTH = 150  # levels of elements; the conversion needs three levels of Python's stack for each


class LeftOut(Counter[str]):
    """Characters left out, by reason."""

    def drop(self, tag: Tag, reason: str) -> None:
        """Take an element out of the tree and count its characters."""
        self[reason] += characters(tag)
        tag.decompose()


class Run(NamedTuple):
    """Text that stands together in one block: a paragraph, a list item, a cell."""

    text: str
    linked: int  # characters of it in links and buttons
    heading: bool


def characters(tag: Tag) -> int:
    """Count the letters and digits of an element, those of scripts and comments not included."""
    return sum(count_characters(string) for string in tag.strings)


def attribute(tag: Tag, name: str) -> str:
    """Return an attribute as one string, empty if there is none."""
    value = tag.get(name)
    return value if isinstance(value, str) else " ".join(value or ())


def has_class(tag: Tag, names: frozenset[str]) -> bool:
    """Return whether an element has one of these classes."""
    classes = tag.get("class")
    return bool(classes) and not names.isdisjoint(
        classes.split() if isinstance(classes, str) else classes or ()
    )


def hints(tag: Tag) -> set[str]:
    """Return the words of an element's class and id: {"site", "nav"} for "site-nav" and "siteNav"."""
    if not (tag.has_attr("class") or tag.has_attr("id")):
        return set()
    names = f"{attribute(tag, 'class')} {attribute(tag, 'id')}"
    return set(map(str.lower, re.findall(r"[A-Z]?[a-z]+|[A-Z]+", names)))


def runs(tag: Tag) -> list[Run]:
    """Return the text of an element, block by block."""
    found: list[tuple[Tag | None, list[str], list[int]]] = []
    for string in tag.strings:
        block, linked = None, False
        for parent in string.parents:
            linked = linked or parent.name in ("a", "button") or parent.get("role") in ("button", "link")
            if parent.name in BLOCKS or parent is tag:
                block = parent
                break
        if not found or found[-1][0] is not block:
            found.append((block, [], [0]))
        found[-1][1].append(string)
        found[-1][2][0] += count_characters(string) if linked else 0
    joined = (Run("".join(texts), linked[0], bool(b and b.name in HEADINGS)) for b, texts, linked in found)
    return [run for run in joined if count_characters(run.text)]


def is_linked(tag: Tag) -> bool:
    """Return whether most of an element's text is in blocks that are little but links, as in a menu."""
    found = runs(tag)
    found = [run for run in found if not run.heading] or found
    sizes = [(count_characters(run.text), run.linked) for run in found]
    return 2 * sum(size for size, linked in sizes if linked >= 0.8 * size) > sum(size for size, _ in sizes)


def has_prose(tag: Tag) -> bool:
    """Return whether an element holds a sentence that is neither a link nor a copyright notice."""
    return any(_is_prose(run) for run in runs(tag))


def _is_prose(run: Run) -> bool:
    if run.heading or 2 * run.linked > count_characters(run.text) or is_copyright(run.text):
        return False
    words = count_words(run.text)
    return words >= 8 or (words >= 4 and re.search(r"[.!?。！？।؟…:;][\"'”»)\]]*\s*$", run.text) is not None)


def is_copyright(text: str) -> bool:
    """Return whether a text is a copyright notice."""
    return re.match(r"\s*(?:©|\(c\)|copyright\b)", text, re.I) is not None


def count_words(text: str) -> int:
    """Count words; two characters of a script without blanks between words count as one."""
    return len(re.findall(r"\w+", UNSPACED.sub(" ", text))) + len(UNSPACED.findall(text)) // 2


def text_before(tag: Tag) -> str:
    """Return the text directly before an element in its block, empty if it begins the block."""
    element = tag.previous_element
    while isinstance(element, Tag) or type(element) is not NavigableString or not element:
        if element is None or (isinstance(element, Tag) and element.name in BLOCKS):
            return ""
        element = element.previous_element
    return str(element) if _block(element) is _block(tag) else ""


def _block(element: PageElement) -> Tag | None:
    return next((parent for parent in element.parents if parent.name in BLOCKS), None)


def elements(root: Tag, *names: str) -> list[Tag]:
    """Return the elements of these names, or all, in order; many times faster than a CSS selector."""
    wanted = frozenset(names)
    return [tag for tag in root.find_all(True) if not wanted or tag.name in wanted]


def write(tag: Tag, text: str, name: str = "span") -> None:
    """Turn an element into one that holds this text only, in its place."""
    tag.clear()
    tag.name, tag.attrs = name, {}
    tag.append(NavigableString(text))


def live(tags: Iterable[Tag]) -> Iterator[Tag]:
    """Iterate over elements found before, without those that were taken out meanwhile."""
    return (tag for tag in tags if vars(tag).get("parent") is not None)  # decomposed: without attributes


def parse_tree(markup: str) -> BeautifulSoup:
    """Parse HTML into a tree of at most MAX_DEPTH levels, in which only code is no text."""
    containers = {"script": Script, "style": Stylesheet}
    soup = BeautifulSoup(markup, "lxml", string_containers=containers)
    _flatten(soup)
    return soup


def _flatten(soup: BeautifulSoup) -> None:
    """Replace the elements below MAX_DEPTH by their text, since later steps recurse into the tree."""
    stack: list[tuple[Tag, int]] = [(soup, 0)]
    while stack:
        node, depth = stack.pop()
        for child in [child for child in node.children if isinstance(child, Tag)]:
            if depth < MAX_DEPTH:
                stack.append((child, depth + 1))
            else:
                child.replace_with(NavigableString(f" {child.get_text(' ')} "))
