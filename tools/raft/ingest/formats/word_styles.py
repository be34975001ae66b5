"""Resolve what the styles of a Word document say of its paragraphs and runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .ooxml import is_on, number, tag, value

_MAX_CHAIN = 20  # styles based on one another, which a broken file may tie into a ring


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
