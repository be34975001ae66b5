"""Elements of WordprocessingML: their names, how they are made, and the styles that they take on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

PREFIXES = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "w14": "http://schemas.microsoft.com/office/word/2010/wordml",
    "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "p": "http://schemas.openxmlformats.org/presentationml/2006/main",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "o": "urn:schemas-microsoft-com:office:office",
}
_MAX_CHAIN = 20  # styles based on one another, which a broken file may tie into a ring


def tag(name: str) -> str:
    """Return the full name of an element or attribute, such as "w:p"."""
    prefix, _, local = name.partition(":")
    return f"{{{PREFIXES[prefix]}}}{local}"


def make(name: str, *children: Any, **attributes: str) -> Any:
    """Make an element of WordprocessingML: make("p", make("r", ...)); attributes are named without "w:"."""
    named = {tag(f"w:{key}"): value for key, value in attributes.items()}
    element = etree.Element(tag(f"w:{name}"), named, nsmap={"w": PREFIXES["w"]})
    element.extend(children)
    return element


def make_text(text: str) -> Any:
    """Make a run of a text, with its line breaks."""
    run = make("r")
    for number, line in enumerate(text.split("\n")):
        if number:
            run.append(make("br"))
        element = make("t")
        element.text = line
        element.set("{http://www.w3.org/XML/1998/namespace}space", "preserve")
        run.append(element)
    return run


def make_paragraph(text: str) -> Any:
    """Make a paragraph of a text."""
    return make("p", make_text(text))


def child(element: Any, *names: str) -> Any:
    """Return the first element on a path of names below an element, or nothing."""
    for name in names:
        element = element.find(tag(name)) if element is not None else None
    return element


def value(element: Any, *names: str, default: str | None = None) -> str | None:
    """Return the w:val of the element on a path of names, or the default."""
    found = child(element, *names)
    return default if found is None else found.get(tag("w:val"), default)


def number(text: str | None, default: int) -> int:
    """Return a whole number as files write it, or the default."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,9}", text) else default


def is_on(element: Any, *names: str) -> bool | None:
    """Return whether a property that is on or off is on; nothing if the element says nothing of it."""
    found = child(element, *names)
    return None if found is None else found.get(tag("w:val"), "1").lower() not in ("0", "false", "off")


def remove(element: Any) -> None:
    """Remove an element. The text after it, which is white space in office files, goes with it."""
    if (parent := element.getparent()) is not None:
        parent.remove(element)


def unwrap(element: Any) -> None:
    """Put the children of an element in its place."""
    parent = element.getparent()
    if parent is not None:
        place = parent.index(element)
        parent[place : place + 1] = list(element)


class Styles:
    """What the styles of a document say of its paragraphs and runs."""

    def __init__(self, root: Any) -> None:
        styles = [] if root is None else root.findall(tag("w:style"))
        self._styles = {style.get(tag("w:styleId")): style for style in styles}
        self._default = next(
            (
                style.get(tag("w:styleId"))
                for style in styles
                if style.get(tag("w:type")) == "paragraph" and is_default(style)
            ),
            None,
        )

    def chain(self, style: str | None) -> Iterator[Any]:
        """Yield a style and those it is based on."""
        for _ in range(_MAX_CHAIN):
            found = self._styles.get(style)
            if found is None:
                return
            yield found
            style = value(found, "w:basedOn")

    def of_paragraph(self, paragraph: Any) -> Iterator[Any]:
        """Yield the styles of a paragraph, the nearest first."""
        return self.chain(value(paragraph, "w:pPr", "w:pStyle", default=self._default))

    def names(self, paragraph: Any) -> list[str]:
        """Return the names of a paragraph's styles in lower case; of a style that is not there, its id."""
        names = [(value(style, "w:name") or "").lower() for style in self.of_paragraph(paragraph)]
        if not names:
            named = (value(paragraph, "w:pPr", "w:pStyle") or "").lower()
            names = [re.sub(r"(?<=heading)(?=[1-9]$)", " ", named)]
        return names

    def outline_level(self, paragraph: Any) -> int | None:
        """Return the level of a heading, from 1, or nothing for other paragraphs."""
        names = self.names(paragraph)
        if names[:1] in (["title"], ["subtitle"]):
            return 1 if names[0] == "title" else 2
        for name in names:
            if match := re.fullmatch(r"heading ([1-9])", name):
                return int(match.group(1))
        for properties in (paragraph, *self.of_paragraph(paragraph)):
            if level := value(properties, "w:pPr", "w:outlineLvl"):
                return number(level, 9) + 1 if 0 <= number(level, 9) < 9 else None
        return None

    def is_code(self, paragraph: Any) -> bool:
        """Return whether a paragraph is in a style for program text."""
        return any(name in _CODE_STYLES for name in self.names(paragraph))

    def is_hidden(self, run: Any, paragraph: Any) -> bool:
        """Return whether a run is hidden, by itself or by a style."""
        if (web := is_on(run, "w:rPr", "w:webHidden")) is not None and web:
            return True
        return bool(self.run_property(run, paragraph, "w:vanish", is_on))

    def run_property(self, run: Any, paragraph: Any, name: str, read: Any) -> Any:
        """Return what the run, its style or its paragraph's style says of a property, the nearest first."""
        styles = self.chain(value(run, "w:rPr", "w:rStyle"))
        for properties in (run, *styles, *self.of_paragraph(paragraph)):
            if (found := read(properties, "w:rPr", name)) is not None:
                return found
        return None


_CODE_STYLES = ("source code", "html preformatted", "code", "code block", "macro text")


def is_default(style: Any) -> bool:
    """Return whether a style is the one of paragraphs that name none."""
    return style.get(tag("w:default"), "0").lower() in ("1", "true", "on")
