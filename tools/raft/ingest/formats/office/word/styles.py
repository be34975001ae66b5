"""Resolve what the styles of a Word document say of its paragraphs and runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..ooxml import is_on, number, tag, value

Read = Callable[..., Any]  # child, value, is_on: the element and a path of names
_MAX_CHAIN = 20  # styles based on one another, which a broken file may tie into a ring


class Styles:
    """What the styles of a document say of its paragraphs and runs; each is looked up once."""

    def __init__(self, root: Any) -> None:
        styles = [] if root is None else root.findall(tag("w:style"))
        self._styles = {style.get(tag("w:styleId")): style for style in styles}
        defaults = (
            style for style in styles if style.get(tag("w:type")) == "paragraph" and is_default(style)
        )
        self._default = next((style.get(tag("w:styleId")) for style in defaults), None)
        self._chains: dict[str | None, list[Any]] = {}
        self._headings: dict[str | None, int | None] = {}
        self._properties: dict[tuple[str | None, str, Read], Any] = {}

    def of(self, paragraph: Any) -> str | None:
        """Return the id of a paragraph's style."""
        return value(paragraph, "w:pPr", "w:pStyle", default=self._default)

    def chain(self, style: str | None) -> list[Any]:
        """Return a style and those it is based on."""
        if style not in self._chains:
            chain: list[Any] = []
            found = self._styles.get(style)
            while found is not None and len(chain) < _MAX_CHAIN:
                chain.append(found)
                found = self._styles.get(value(found, "w:basedOn"))
            self._chains[style] = chain
        return self._chains[style]

    def names(self, style: str | None) -> list[str]:
        """Return the names of a style and those it is based on in lower case; of an unknown one, its id."""
        names = [(value(found, "w:name") or "").lower() for found in self.chain(style)]
        return names or [re.sub(r"(?<=heading)(?=[1-9]$)", " ", (style or "").lower())]

    def heading_level(self, paragraph: Any, style: str | None) -> int | None:
        """Return the level of a heading, from 1, or nothing for other paragraphs."""
        if style not in self._headings:
            self._headings[style] = self._named_level(style)
        if self._headings[style] is None and (own := value(paragraph, "w:pPr", "w:outlineLvl")) is not None:
            return _level(own)
        return self._headings[style]

    def _named_level(self, style: str | None) -> int | None:
        names = self.names(style)
        if names[:1] in (["title"], ["subtitle"]):
            return 1 if names[0] == "title" else 2
        for name in names:
            if match := re.fullmatch(r"heading ([1-9])", name):
                return int(match.group(1))
        levels = (value(found, "w:pPr", "w:outlineLvl") for found in self.chain(style))
        return next((_level(level) for level in levels if level is not None), None)

    def is_code(self, style: str | None) -> bool:
        """Return whether a style is one for program text."""
        return any(name in _CODE_STYLES for name in self.names(style))

    def is_hidden(self, run: Any, style: str | None) -> bool:
        """Return whether a run is hidden, by itself or by a style. style: that of its paragraph."""
        return bool(is_on(run, "w:rPr", "w:webHidden") or self.run_property(run, style, "w:vanish", is_on))

    def run_property(self, run: Any, style: str | None, name: str, read: Read) -> Any:
        """Return what the run, its style or its paragraph's style says of a property, the nearest first."""
        found = read(run, "w:rPr", name)
        for named in (value(run, "w:rPr", "w:rStyle"), style):
            if found is None and named is not None:
                found = self._property(named, name, read)
        return found

    def _property(self, style: str, name: str, read: Read) -> Any:
        key = (style, name, read)
        if key not in self._properties:
            found = (read(one, "w:rPr", name) for one in self.chain(style))
            self._properties[key] = next((one for one in found if one is not None), None)
        return self._properties[key]


def _level(outline: str) -> int | None:
    level = number(outline, 9)
    return level + 1 if 0 <= level < 9 else None


_CODE_STYLES = ("source code", "html preformatted", "code", "code block", "macro text")


def is_default(style: Any) -> bool:
    """Return whether a style is the one of paragraphs that name none."""
    return style.get(tag("w:default"), "0").lower() in ("1", "true", "on")
