"""Resolve the styles and the automatic numbers of an OpenDocument text."""

from __future__ import annotations

from typing import Any

from ..ooxml import number
from ..word.numbers import write_number
from .xml import odf

_MAX_CHAIN = 20  # styles based on one another, which a broken file may tie into a ring
_TITLES = {"Title": 1, "Subtitle": 2}
_LEVELS = 10
_FORMATS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


class OdtStyles:
    """The styles of a text, from the parts content.xml and styles.xml."""

    def __init__(self, roots: list[Any]) -> None:
        self._styles = {
            (style.get(odf("style:family")), style.get(odf("style:name"))): style
            for root in roots
            for style in root.iter(odf("style:style"))
        }
        lists = [style for root in roots for style in root.iter(odf("text:list-style"))]
        self._lists = {style.get(odf("style:name")): style for style in lists}
        outlines = [style for root in roots for style in root.iter(odf("text:outline-style"))]
        self.outline = outlines[0] if outlines else None

    def property(self, family: str, name: str | None, attribute: str) -> str | None:
        """Return a property of the text in a style, from the style itself or one that it is based on."""
        for _ in range(_MAX_CHAIN):
            style = self._styles.get((family, name))
            if style is None:
                return None
            found = style.find(odf("style:text-properties"))
            if found is not None and (value := found.get(odf(attribute))) is not None:
                return str(value)
            name = style.get(odf("style:parent-style-name"))
        return None

    def is_hidden(self, family: str, name: str | None) -> bool:
        """Return whether a style hides its text."""
        return self.property(family, name, "text:display") == "none"

    def title_level(self, name: str | None) -> int:
        """Return the level of heading that a paragraph style for titles stands for, else 0."""
        style = self._styles.get(("paragraph", name))
        parent = None if style is None else style.get(odf("style:parent-style-name"))
        return next((_TITLES[known] for known in (name, parent) if known in _TITLES), 0)

    def raised(self, name: str | None) -> str:
        """Return "sup" or "sub" for a style of raised or lowered text, else nothing."""
        place = (self.property("text", name, "style:text-position") or "").split()[:1]
        if not place or place[0].rstrip("%") in ("0", ""):
            return ""
        return "sub" if place[0] == "sub" or place[0].startswith("-") else "sup"

    def list_style(self, name: str | None) -> Any:
        """Return a list style, or nothing."""
        return self._lists.get(name)


class Counter:
    """The numbers of one list, or of all headings."""

    def __init__(self, style: Any) -> None:
        self._levels = {
            number(level.get(odf("text:level")), 0) - 1: level for level in (() if style is None else style)
        }
        self._counts: list[int | None] = [None] * _LEVELS

    def label(self, level: int, start: str | None = None) -> str | None:
        """Count an item; return its label, or nothing if it has a bullet. start: the number it is given."""
        level = min(level, _LEVELS - 1)
        definition = self._levels.get(level)
        previous = self._counts[level]
        first = number(start, self._start(level) if previous is None else previous + 1)
        self._counts[level:] = [first, *[None] * (_LEVELS - level - 1)]
        if definition is None or definition.tag == odf("text:list-level-style-bullet"):
            return None
        if not definition.get(odf("style:num-format")):
            return ""
        shown = min(max(number(definition.get(odf("text:display-levels")), 1), 1), level + 1)
        parts = [self._written(index) for index in range(level - shown + 1, level + 1)]
        label = ".".join(part for part in parts if part)
        before, after = (definition.get(odf(f"style:num-{end}")) or "" for end in ("prefix", "suffix"))
        return f"{before}{label}{after}".strip()

    def _start(self, level: int) -> int:
        definition = self._levels.get(level)
        return number(None if definition is None else definition.get(odf("text:start-value")), 1)

    def _written(self, level: int) -> str:
        definition = self._levels.get(level)
        format = None if definition is None else definition.get(odf("style:num-format"))
        count = self._counts[level]
        if format not in _FORMATS:
            return ""
        return write_number(self._start(level) if count is None else count, _FORMATS[format])
