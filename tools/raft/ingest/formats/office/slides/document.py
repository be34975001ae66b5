"""Read PowerPoint presentations: a page a slide, its title first, its notes last."""

from __future__ import annotations

from collections import Counter
from html import escape
from itertools import chain
from typing import Any

from lxml import etree

from ...html.markup import parse_markup
from ...parsed import Parsed, Unreadable, count_characters, make_parsed
from ..drawings import read_chart, read_diagram, unread_object
from ..formulas import convert_formulas
from ..number_mark import place_numbers
from ..ooxml import (
    child,
    choose_alternatives,
    core_title,
    main_part,
    relation_id,
    relations,
    remove,
    tag,
    text_of,
)
from ..unpack import is_xml, parse_xml, read_parts
from ..write_html import write_table
from .order import LEAVES, SHAPES, is_hidden, placeholder, reading_order
from .text import write_paragraphs, write_runs, write_table_of_slide

_TITLES = ("title", "ctrTitle")
_RUNNING = ("dt", "ftr", "hdr", "sldNum")  # placeholders for date, footer, header and number


def read_pptx(path: str) -> Parsed:
    """Read a presentation: titles, text, lists, tables, charts and speaker notes; no hidden slides.

    Raises Unreadable if it is broken, encrypted, or unpacks to more than MAX_UNPACKED.
    """
    parts = read_parts(path, "PPTX", is_xml)
    main = main_part(parts, "ppt/presentation.xml")
    if main not in parts:
        raise Unreadable("broken: a ZIP file, but no PPTX")
    related = relations(parts, main)
    slides = [
        related.get(slide.get(tag("r:id")) or "", ("", ""))[1]
        for slide in parse_xml(parts[main]).iter(tag("p:sldId"))
    ]
    return _Presentation(parts).read(slides)


class _Presentation:
    def __init__(self, parts: dict[str, bytes]) -> None:
        self._parts = parts
        self._seen = 0
        self._left_out: Counter[str] = Counter()
        self._notes: list[str] = []
        self._footers: set[str] = set()
        self._related: dict[str, tuple[str, str]] = {}  # of the slide that is read

    def read(self, slides: list[str]) -> Parsed:
        """Read the slides of these names."""
        text, title, starts = "", core_title(self._parts), []
        for page, name in enumerate(slides, start=1):
            starts.append(len(text) + 2 if text else 0)
            if name not in self._parts:
                self._notes.append(f"slide {page} is missing from the file")
                continue
            parsed = parse_markup(self._read_slide(name, page))
            self._left_out.update(parsed["left_out"])
            title = title or parsed["title"]
            if shown := place_numbers(parsed["text"]):
                text += ("\n\n" if text else "") + shown
        starts = [min(start, len(text)) for start in starts]
        return make_parsed(
            text,
            title=title,
            page_starts=starts,
            notes=self._notes,
            left_out=self._left_out,
            seen=self._seen,
        )

    def _read_slide(self, name: str, page: int) -> str:
        """Return a slide as HTML, and account for what it holds."""
        root = parse_xml(self._parts[name])
        choose_alternatives(root)
        self._related = relations(self._parts, name)
        self._seen += _count(root)
        spoken = self._related_roots("notesSlide")
        comments = self._related_roots("comments")
        self._seen += sum(map(_count, comments))
        self._left_out["comments"] += sum(map(_count, comments))
        if root.get("show") in ("0", "false"):
            self._left_out["hidden slides"] += _count(root)
            return ""
        _write_formulas(root)
        html = "".join(map(self._write_shape, self._shapes(root)))
        if not html.strip() and root.find(f".//{tag('p:pic')}") is not None:
            self._notes.append(f"no text on slide {page}: a picture")
        return html + "".join(self._write_notes(notes) for notes in spoken)

    def _related_roots(self, kind: str) -> list[Any]:
        names = [name for found, name in self._related.values() if found == kind]
        return [parse_xml(self._parts[name]) for name in names if name in self._parts]

    # --- order ---

    def _shapes(self, root: Any) -> list[Any]:
        """Return the shapes of a slide in reading order: the title, then from top to bottom.

        Placeholders are in the order of the layout already; other shapes are in the order they were drawn.
        """
        tree = child(root, "p:cSld", "p:spTree")
        shapes = [] if tree is None else [shape for shape in tree if shape.tag in SHAPES]
        titles = [shape for shape in shapes if placeholder(shape) in _TITLES]
        running = [shape for shape in shapes if placeholder(shape) in _RUNNING]
        others = [shape for shape in shapes if placeholder(shape) not in (*_TITLES, *_RUNNING)]
        if any(placeholder(shape) is None for shape in others):
            others = reading_order(others, self._related_roots("slideLayout"))
        return [*titles, *(shape for other in others for shape in other.iter(*LEAVES)), *running]

    # --- content ---

    def _write_shape(self, shape: Any) -> str:
        if is_hidden(shape):
            self._left_out["hidden text"] += _count(shape)
            return ""
        kind = placeholder(shape)
        if kind in _RUNNING:
            return self._write_running(shape, kind)
        if shape.tag == tag("p:graphicFrame"):
            return self._write_frame(shape)
        body = child(shape, "p:txBody")
        if body is None:
            return ""
        if kind in _TITLES:
            title = " ".join(filter(None, map(write_runs, body.findall(tag("a:p"))))).replace("<br>", " ")
            level = 1 if kind == "ctrTitle" else 2
            return f"<h{level}>{title}</h{level}>" if title else ""
        return write_paragraphs(body, bullets=kind in ("body", "obj"))

    def _write_running(self, shape: Any, kind: str | None) -> str:
        """Keep a footer the first time it comes; leave out dates, slide numbers and repetitions."""
        text = text_of(shape, tag("a:t")).strip()
        if kind in ("ftr", "hdr") and text not in self._footers:
            self._footers.add(text)
            return f"<p>{escape(text)}</p>"
        self._left_out["running heads and page numbers"] += count_characters(text)
        return ""

    def _write_frame(self, frame: Any) -> str:
        data = child(frame, "a:graphic", "a:graphicData")
        if (table := child(data, "a:tbl")) is not None:
            return write_table_of_slide(table)
        html = ""
        for element in () if data is None else data.iter(tag("c:chart"), tag("dgm:relIds"), tag("p:oleObj")):
            if element.tag == tag("p:oleObj"):
                kind = element.get("progId") or "of no kind"
                self._notes.append(unread_object(kind))
                continue
            part = self._parts.get(self._related.get(relation_id(element), ("", ""))[1])
            if part and element.tag == tag("c:chart"):
                title, rows = read_chart(parse_xml(part))
                self._seen += sum(map(count_characters, (title, *chain(*rows))))
                cells = [[(escape(text), "") for text in row] for row in rows]
                html += f"<p>{escape(title)}</p>" + write_table(cells)
            elif part:
                texts = read_diagram(parse_xml(part))
                self._seen += sum(map(count_characters, texts))
                html += "".join(f"<p>{escape(text)}</p>" for text in texts)
        return html

    def _write_notes(self, root: Any) -> str:
        """Return the speaker notes of a slide, without the date and number of their page."""
        shapes = [shape for shape in root.iter(tag("p:sp")) if placeholder(shape) == "body"]
        self._seen += sum(map(_count, shapes))
        bodies = [child(shape, "p:txBody") for shape in shapes]
        return "".join(write_paragraphs(body, bullets=False) for body in bodies if body is not None)


_TEXTS = (tag("a:t"), tag("m:t"), tag("p:text"))


def _count(root: Any) -> int:
    return count_characters(text_of(root, *_TEXTS))


def _write_formulas(root: Any) -> None:
    """Put runs of TeX in the place of formulas."""
    formulas = [formula for formula in root.iter(tag("m:oMath")) if _is_in_text(formula)]
    for formula, tex in zip(formulas, convert_formulas(formulas) if formulas else [], strict=True):
        holder = formula
        while holder.getparent().tag != tag("a:p"):
            holder = holder.getparent()
        run = etree.Element(tag("a:r"))
        etree.SubElement(run, tag("a:t")).text = tex
        holder.addprevious(run)
        remove(formula)


def _is_in_text(formula: Any) -> bool:
    """Return whether a formula is part of a paragraph, and not of another formula."""
    inside = {parent.tag for parent in formula.iterancestors()}
    return tag("a:p") in inside and tag("m:oMath") not in inside
