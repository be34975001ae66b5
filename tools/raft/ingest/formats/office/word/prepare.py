"""Rewrite a Word document so that pandoc finds all that a reader of its pages sees, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ...parsed import Unreadable, count_characters
from ..number_mark import NUMBER_MARK
from ..ooxml import (
    child,
    choose_alternatives,
    core_title,
    is_on,
    main_part,
    make,
    make_text,
    number,
    relations,
    remove,
    tag,
    text_of,
    unwrap,
    value,
)
from ..unpack import is_xml, parse_xml, read_parts
from .archive import write_archive
from .fields import around_page_numbers, resolve_fields
from .numbers import Numbering
from .objects import place_objects
from .structure import TEXTS, complete_tables, join_paragraphs, write_readings
from .styles import Styles
from .symbols import write_symbols

_INSERTED_FILES = (".html", ".htm", ".xhtml", ".txt")


@dataclass
class Account:
    """What a document holds besides the text that is kept."""

    title: str = ""
    seen: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def prepare_docx(path: str) -> tuple[bytes, Account]:
    """Return a DOCX of plain paragraphs, headings, bullets, tables, formulas and notes.

    Automatic numbers are text behind NUMBER_MARK, in a bullet; text boxes, diagrams, charts, page headers
    and footers are paragraphs; deleted and hidden text and comments are gone. Raises Unreadable.
    """
    parts = read_parts(path, "DOCX", lambda name: is_xml(name) or name.lower().endswith(_INSERTED_FILES))
    if not any(name.lower() == "[content_types].xml" for name in parts):
        raise Unreadable("broken: a ZIP file, but no DOCX")
    return _Document(parts, main_part(parts, "word/document.xml")).write()


class _Document:
    def __init__(self, parts: dict[str, bytes], main: str) -> None:
        self._parts = parts
        self._main = main
        self._related = relations(parts, main)
        self._account = Account()
        self._body = child(self._root(main), "w:body")
        if self._body is None:
            raise Unreadable("broken: its text is missing")
        self._styles = Styles(self._related_root("styles"))
        self._numbering = Numbering(self._related_root("numbering"), self._styles)

    def write(self) -> tuple[bytes, Account]:
        """Rewrite all parts that hold text, and return the archive."""
        heads, feet = self._page_headers()
        notes = {kind: self._related_root(kind) for kind in ("footnotes", "endnotes")}
        self._clean(self._body, self._main)
        for kind, root in notes.items():
            if root is not None:
                self._clean(root, self._part_of(kind))
                self._leave_out("notes without a mark", *self._unmarked(root, kind))
        self._body[:0] = heads
        for section in self._body.findall(tag("w:sectPr")):
            remove(section)
        self._body.extend(feet)
        if (comments := self._related_root("comments")) is not None:
            self._leave_out("comments", comments)
            self._account.seen += _count(comments)
        self._account.title = core_title(self._parts)
        return write_archive(self._body.getroottree().getroot(), notes), self._account

    def _unmarked(self, root: Any, kind: str) -> list[Any]:
        """Return the notes that the text does not refer to, such as those whose mark was deleted."""
        marks = self._body.iter(tag(f"w:{kind[:-1]}Reference"))
        referred = {mark.get(tag("w:id")) for mark in marks}
        return [note for note in root if note.get(tag("w:id")) not in referred]

    def _root(self, name: str) -> Any:
        if name not in self._parts:
            raise Unreadable("broken: its text is missing")
        root = parse_xml(self._parts[name])
        choose_alternatives(root)
        return root

    def _part_of(self, kind: str) -> str:
        return next((name for found, name in self._related.values() if found == kind), "")

    def _related_root(self, kind: str) -> Any:
        name = self._part_of(kind)
        return self._root(name) if name in self._parts else None

    def _leave_out(self, reason: str, *elements: Any) -> None:
        self._account.left_out[reason] += sum(map(_count, elements))
        for element in elements:
            remove(element)

    # --- what is in a part ---

    def _clean(self, root: Any, part: str, *, of_page: bool = False) -> None:
        """Reduce a part to what pandoc reads right, and account for what is taken out.

        of_page: it is the header or footer of pages.
        """
        self._account.seen += _count(root)
        self._remove_deleted(root)
        join_paragraphs(root)
        write_readings(root)
        for element in list(root.iter(*_TRANSPARENT)):
            if element.getparent().tag not in _PROPERTIES:
                unwrap(element)
        placed, notes = place_objects(root, relations(self._parts, part), self._parts)
        self._account.seen += placed
        self._account.notes += dict.fromkeys(notes)
        codes, page_numbers = resolve_fields(root)
        self._leave_out("codes of fields", *codes)
        if of_page:
            self._leave_out("running heads and page numbers", *around_page_numbers(page_numbers))
        for paragraph in list(root.iter(tag("w:p"))):
            self._remove_hidden(paragraph)
        self._rewrite_paragraphs(root)
        complete_tables(root)

    def _remove_deleted(self, root: Any) -> None:
        deleted = [
            element
            for element in root.iter(tag("w:del"), tag("w:moveFrom"))
            if element.getparent().tag not in _PROPERTIES
        ]
        deleted += [row for row in root.iter(tag("w:tr")) if child(row, "w:trPr", "w:del") is not None]
        deleted += [cell for cell in root.iter(tag("w:tc")) if child(cell, "w:tcPr", "w:cellDel") is not None]
        for element in deleted:
            self._leave_out("deleted text", element)  # what is in an element that is gone counts once
            element[:] = []

    def _remove_hidden(self, paragraph: Any) -> None:
        style = self._styles.of(paragraph)
        hidden = [run for run in paragraph.iter(tag("w:r")) if self._styles.is_hidden(run, style)]
        self._leave_out("hidden text", *hidden)
        mark = is_on(paragraph, "w:pPr", "w:rPr", "w:vanish")
        in_cell = paragraph.getparent() is None or paragraph.getparent().tag == tag("w:tc")
        # A cell keeps its paragraph: without one it is broken.
        if hidden and mark and not in_cell and not any(True for _ in paragraph.iter(*TEXTS)):
            remove(paragraph)

    def _rewrite_paragraphs(self, root: Any) -> None:
        """Reduce paragraphs to a level of heading, a bullet or program text, and write their numbers."""
        levels: list[int] = []  # of the bullets that the next one may be in
        previous = None
        for paragraph in root.iter(tag("w:p")):
            style = self._styles.of(paragraph)
            level = self._styles.heading_level(paragraph, style)
            label = self._numbering.label(paragraph)
            for run in paragraph.iter(tag("w:r")):
                self._rewrite_run(run, style)
            if (properties := child(paragraph, "w:pPr")) is not None:
                remove(properties)
            shown = any((text.text or "").strip() for text in paragraph.iter(*TEXTS))
            properties = make("pPr")
            if level and shown:
                properties.append(make("pStyle", val=f"Heading{level}"))
            elif self._styles.is_code(style):
                properties.append(make("pStyle", val="SourceCode"))
            elif label and label[1] != "" and shown:
                if previous is None or paragraph.getprevious() is not previous:
                    levels = []
                depth = _nest(levels, label[0])
                properties.append(make("numPr", make("ilvl", val=str(depth)), make("numId", val="1")))
                previous = paragraph
            if shown and label and label[1]:
                self._account.seen += count_characters(label[1])
                paragraph.insert(0, make_text(NUMBER_MARK + label[1]))
            paragraph.insert(0, properties)

    def _rewrite_run(self, run: Any, style: str | None) -> None:
        """Reduce the properties of a run to what changes its meaning: raised, lowered, struck through."""
        write_symbols(run, self._styles.run_property(run, style, "w:rFonts", _font))
        align = self._styles.run_property(run, style, "w:vertAlign", value)
        if align in (None, "baseline"):
            raised = number(value(run, "w:rPr", "w:position"), 0)  # in half points; older files raise so
            align = "superscript" if raised >= 4 else "subscript" if raised <= -4 else None
        struck = is_on(run, "w:rPr", "w:strike") or is_on(run, "w:rPr", "w:dstrike")
        properties = make("rPr")
        if struck:
            properties.append(make("strike"))
        if align:
            properties.append(make("vertAlign", val=align))
        if (old := child(run, "w:rPr")) is not None:
            remove(old)
        run.insert(0, properties)

    # --- headers and footers of the pages ---

    def _page_headers(self) -> tuple[list[Any], list[Any]]:
        """Return the paragraphs and tables of all page headers, each text once, and those of all footers."""
        settings = self._related_root("settings")
        even = bool(is_on(settings, "w:evenAndOddHeaders"))
        blocks: dict[str, list[Any]] = {"headerReference": [], "footerReference": []}
        seen: set[str] = set()
        for section in list(self._body.iter(tag("w:sectPr"))):
            shown = {"default": True, "even": even, "first": bool(is_on(section, "w:titlePg"))}
            for kind, found in blocks.items():
                for reference in section.findall(tag(f"w:{kind}")):
                    name = self._related.get(reference.get(tag("r:id")), ("", ""))[1]
                    if name in self._parts and shown.get(reference.get(tag("w:type")), True):
                        found += self._page_header(name, seen)
        return blocks["headerReference"], blocks["footerReference"]

    def _page_header(self, name: str, seen: set[str]) -> Iterator[Any]:
        root = self._root(name)
        text = text_of(root, *TEXTS)
        if text not in seen:
            seen.add(text)
            self._clean(root, name, of_page=True)
            yield from (
                block for block in list(root) if any((text.text or "").strip() for text in block.iter(*TEXTS))
            )


_PROPERTIES = tuple(map(tag, ("w:rPr", "w:trPr", "w:tcPr", "w:pPr", "w:numPr", "w:tblPr", "w:sectPr")))
_TRANSPARENT = tuple(
    map(
        tag,
        (
            "w:sdt",
            "w:sdtContent",
            "w:smartTag",
            "w:customXml",
            "w:hyperlink",
            "w:ins",
            "w:moveTo",
            "w:dir",
            "w:bdo",
        ),
    )
)


def _count(root: Any) -> int:
    return count_characters(text_of(root, *TEXTS))


def _font(run: Any, *names: str) -> str | None:
    fonts = child(run, *names)
    return None if fonts is None else fonts.get(tag("w:ascii")) or fonts.get(tag("w:hAnsi"))


def _nest(levels: list[int], level: int) -> int:
    """Return how deep a level of a list is, given those it is in; a list may begin at any level."""
    while levels and levels[-1] > level:
        levels.pop()
    if not levels or levels[-1] < level:
        levels.append(level)
    return len(levels) - 1
