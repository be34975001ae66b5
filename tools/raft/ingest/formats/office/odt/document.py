"""Read OpenDocument texts (ISO 26300), as LibreOffice writes them, through HTML, which markup.py converts."""

from __future__ import annotations

import posixpath
from collections import Counter as Tally
from html import escape
from typing import Any

from lxml import etree

from ...html.markup import parse_markup
from ...parsed import Parsed, Unreadable, count_characters, make_parsed
from ..drawings import unread_object
from ..number_mark import NUMBER_MARK, place_numbers
from ..ooxml import number
from ..page_numbers import PAGE_NUMBER, without_page_numbers
from ..unpack import is_xml, parse_xml, read_parts
from ..write_html import write_list, write_table
from .styles import Counter, OdtStyles
from .xml import count, odf, remove, without_prefixes

_MAX_REPEATED = 64  # cells or rows that a file writes as one
_PAGE_NUMBERS = (odf("text:page-number"), odf("text:page-count"))
_DECLARATIONS = (
    "text:sequence-decls",
    "text:variable-decls",
    "text:user-field-decls",
    "office:scripts",
    "office:change-info",
)
_CELLS = (odf("table:table-cell"), odf("table:covered-table-cell"))
_Items = list[tuple[int | None, str]]  # of a list: level and HTML; blocks that are no items have no level


def read_odt(path: str) -> Parsed:
    """Read an OpenDocument text: all that its pages show, no pictures.

    Raises Unreadable if it is broken, encrypted, or unpacks to more than MAX_UNPACKED.
    """
    parts = read_parts(path, "ODT", is_xml)
    if b"encryption-data" in parts.get("META-INF/manifest.xml", b""):
        raise Unreadable("encrypted: save it as .odt without a password")
    if "content.xml" not in parts:
        raise Unreadable("broken: a ZIP file, but no ODT")
    return _Text(parts).read()


class _Text:
    def __init__(self, parts: dict[str, bytes]) -> None:
        self._parts = parts
        self._root = parse_xml(parts["content.xml"])
        self._pages = parse_xml(parts["styles.xml"]) if "styles.xml" in parts else etree.Element("none")
        self._styles = OdtStyles([self._pages, self._root])
        self._headings = Counter(self._styles.outline)
        self._lists: dict[str | None, Counter] = {}  # by the id of the list
        self._last_lists: dict[str | None, Counter] = {}  # by the name of the style
        self._forms: dict[str | None, str] = {}
        self._seen = 0
        self._left_out: Tally[str] = Tally()
        self._notes: list[str] = []
        self._footnotes: list[str] = []
        self._boxes: list[str] = []  # that hang on the paragraph being written
        self._at_margin = False  # writing the header or footer of pages

    def read(self) -> Parsed:
        """Return the text with the headers of its pages before it, and notes and footers after it."""
        body = self._root.find(f"{odf('office:body')}/{odf('office:text')}")
        if body is None:
            raise Unreadable("broken: an OpenDocument file, but no text")
        self._take_declarations(body)
        self._seen += count(body)
        text = self._blocks(body)
        heads, feet = self._margins("header"), self._margins("footer")
        parsed = parse_markup(heads + text + "".join(self._footnotes) + feet)
        self._left_out.update(parsed["left_out"])
        return make_parsed(
            place_numbers(parsed["text"]),
            title=self._title() or place_numbers(parsed["title"]),
            notes=list(dict.fromkeys(self._notes)),
            left_out=self._left_out,
            seen=self._seen,
        )

    def _title(self) -> str:
        if "meta.xml" not in self._parts:
            return ""
        return (parse_xml(self._parts["meta.xml"]).findtext(f".//{odf('dc:title')}") or "").strip()

    def _take_declarations(self, body: Any) -> None:
        """Remove what is no text: declarations, templates of indexes, and forms, whose values are kept."""
        for control in body.iter():
            if control.tag.startswith(odf("form:")):
                ids = (control.get(odf("form:id")), control.get(odf("xml:id")))
                shown = control.get(odf("form:current-value")) or control.get(odf("form:value")) or ""
                if control.tag == odf("form:checkbox"):
                    shown = "☒" if control.get(odf("form:current-state")) == "checked" else "☐"
                self._forms |= {name: shown for name in ids if name}
        for element in [*body.iter(*map(odf, _DECLARATIONS)), *body.iter(odf("office:forms"))]:
            remove(element)
        for element in list(body.iter(f"{odf('text:')}*")):
            if element.tag.endswith("-source"):  # of an index: how its lines are to look
                remove(element)

    def _leave_out(self, reason: str, element: Any) -> str:
        self._left_out[reason] += count(element)
        return ""

    # --- blocks ---

    def _blocks(self, parent: Any) -> str:
        return "".join(map(self._block, parent))

    def _block(self, element: Any) -> str:
        name = etree.QName(element).localname
        if name in ("p", "h") and element.tag.startswith(odf("text:")):
            return self._paragraph(element)
        if element.tag == odf("text:list"):
            return self._list(element)
        if element.tag == odf("table:table"):
            return self._table(element)
        if element.tag == odf("text:tracked-changes"):
            return self._leave_out("deleted text", element)
        if element.tag == odf("office:annotation"):
            return self._leave_out("comments", element)
        if element.tag.startswith(odf("draw:")):
            inline = self._drawing(element)
            return (f"<p>{inline}</p>" if inline else "") + self._take_boxes()
        if element.get(odf("text:display")) == "none" or element.get(odf("text:is-hidden")) == "true":
            return self._leave_out("hidden text", element)
        return self._blocks(element)

    def _paragraph(self, element: Any, label: str | None = "") -> str:
        """Return a paragraph or heading with its label."""
        style = element.get(odf("text:style-name"))
        hidden = (mark.get(odf("text:is-hidden")) for mark in element.iter(odf("text:hidden-paragraph")))
        if self._styles.is_hidden("paragraph", style) or "true" in hidden:
            return self._leave_out("hidden text", element)
        html = self._margin(element) if self._at_margin else self._inline(element)
        level = self._styles.title_level(style)
        if element.tag == odf("text:h"):
            level = min(max(number(element.get(odf("text:outline-level")), 1), 1), 9)
            if not label and element.get(odf("text:is-list-header")) != "true":
                restart = element.get(odf("text:start-value"))
                label = self._headings.label(level - 1, restart)
        if label:
            self._seen += count_characters(label)
            html = f"{NUMBER_MARK}{escape(label)} {html}"
        name = f"h{level}" if level else "p"
        return (f"<{name}>{html}</{name}>" if html.strip() else "") + self._take_boxes()

    def _take_boxes(self) -> str:
        boxes, self._boxes = self._boxes, []
        return "".join(boxes)

    def _list(self, element: Any) -> str:
        html = ""
        items: list[tuple[int, str]] = []
        for level, item in self._items(element, 0, None, None):
            if level is not None:
                items.append((level, item))
            else:
                html += write_list(items) + item
                items = []
        return html + write_list(items)

    def _items(self, element: Any, level: int, style: str | None, counter: Counter | None) -> _Items:
        """Return the items of a list and of the lists in it."""
        own = element.get(odf("text:style-name"))
        if counter is None or (own and own != style):
            style = own or style
            counter = Counter(self._styles.list_style(style))
            if element.get(odf("text:continue-numbering")) == "true":
                counter = self._last_lists.get(style, counter)
            if (earlier := element.get(odf("text:continue-list"))) is not None:
                counter = self._lists.get(earlier, counter)
        if not level:
            self._last_lists[style] = counter
            self._lists[element.get(odf("xml:id"))] = counter
        items: _Items = []
        for item in element:
            items += self._item(item, level, style, counter)
        return items

    def _item(self, item: Any, level: int, style: str | None, counter: Counter) -> _Items:
        """Return an item, whose first paragraph has the label, and the items below it."""
        items: _Items = []
        label: str | None = ""
        written = item.find(odf("text:number"))
        blocks = [block for block in item if block is not written]
        if item.tag == odf("text:list-item") and blocks and blocks[0].tag != odf("text:list"):
            label = counter.label(level, item.get(odf("text:start-value")))
            if written is not None and label is not None:
                label = "".join(written.itertext())
                self._seen -= count_characters(label)  # counted as text of the file, and as a label
        for place, block in enumerate(blocks):
            if block.tag == odf("text:list"):
                items += self._items(block, level + 1, style, counter)
            elif place or label == "" or block.tag == odf("text:h"):
                html = self._paragraph(block, label) if block.tag == odf("text:h") else self._block(block)
                if place and items and items[-1][0] is not None:
                    items[-1] = (items[-1][0], items[-1][1] + html)
                else:
                    items.append((None, html))
            else:
                items.append((level, self._paragraph(block, label)))
        return items

    def _table(self, table: Any) -> str:
        rows = []
        for row in table.iter(odf("table:table-row")):
            if next(row.iterancestors(odf("table:table"))) is table:
                cells = [cell for one in row.iterchildren(*_CELLS) for cell in self._cell(one)]
                empty = not any(text for text, _ in cells)
                repeated = number(row.get(odf("table:number-rows-repeated")), 1)
                rows += [cells] * (1 if empty else min(repeated, _MAX_REPEATED))
        return write_table(rows)

    def _cell(self, cell: Any) -> list[tuple[str, str]]:
        """Return a cell as often as it is repeated: its HTML and the attributes of its spans."""
        if cell.tag == odf("table:covered-table-cell"):
            return []
        columns = number(cell.get(odf("table:number-columns-spanned")), 1)
        rows = number(cell.get(odf("table:number-rows-spanned")), 1)
        repeated = min(number(cell.get(odf("table:number-columns-repeated")), 1), _MAX_REPEATED)
        return [(self._blocks(cell), f' colspan="{columns}" rowspan="{rows}"')] * repeated

    # --- inside a paragraph ---

    def _inline(self, element: Any) -> str:
        html = escape(element.text or "")
        for part in element:
            html += self._part(part) + escape(part.tail or "")
        return html

    def _part(self, part: Any) -> str:
        if part.tag == odf("text:span"):
            style = part.get(odf("text:style-name"))
            if self._styles.is_hidden("text", style):
                return self._leave_out("hidden text", part)
            name = self._styles.raised(style)
            return f"<{name}>{self._inline(part)}</{name}>" if name else self._inline(part)
        if part.tag == odf("text:s"):
            return " "
        if part.tag == odf("text:tab"):
            return " "
        if part.tag == odf("text:line-break"):
            return "<br>"
        if part.tag == odf("text:note"):
            return self._note(part)
        if part.tag == odf("text:ruby-text"):  # how the word before it is read
            return f" ({self._inline(part)}) "
        if part.tag == odf("office:annotation"):
            return self._leave_out("comments", part)
        if part.tag == odf("draw:control"):
            return escape(self._forms.get(part.get(odf("draw:control")), ""))
        if part.tag.startswith(odf("draw:")) and part.tag != odf("draw:a"):
            return self._drawing(part)
        return self._inline(part)

    def _note(self, note: Any) -> str:
        """Return the mark of a footnote or endnote, and keep its text for the end."""
        citation = note.find(odf("text:note-citation"))
        mark = "*" if citation is None else "".join(citation.itertext())
        place = len(self._footnotes)
        self._footnotes.append("")
        boxes, self._boxes = self._boxes, []
        body = note.find(odf("text:note-body"))
        html = "" if body is None else self._blocks(body)
        self._footnotes[place] = html.replace("<p>", f"<p>[{escape(mark)}] ", 1)
        self._boxes = boxes
        return f"[{escape(mark)}]"

    def _drawing(self, element: Any) -> str:
        """Return a formula; what else a frame or shape holds comes after the paragraph."""
        inline = ""
        for part in element:
            if part.tag == odf("draw:object"):
                inline += self._object(part)
            elif part.tag == odf("draw:object-ole"):
                self._notes.append(unread_object())
            elif part.tag.endswith(("}title", "}desc")):
                self._leave_out("descriptions of pictures", part)
            elif part.tag.startswith(odf("draw:")) and part.tag != odf("draw:text-box"):
                inline += self._drawing(part)
            else:
                boxes, self._boxes = self._boxes, []
                html = self._blocks(part) if part.tag == odf("draw:text-box") else self._block(part)
                self._boxes = [*boxes, html]
        return inline

    def _object(self, element: Any) -> str:
        """Return the formula of an embedded object; the table of a chart comes after the paragraph."""
        name = posixpath.normpath(element.get(odf("xlink:href")) or "") + "/content.xml"
        root = parse_xml(self._parts[name]) if name in self._parts else element
        if (formula := next(root.iter(odf("math:math")), None)) is not None:
            for source in list(formula.iter(odf("math:annotation"))):
                remove(source)
            self._seen += 0 if root is element else count(formula)
            return etree.tostring(without_prefixes(formula), encoding="unicode", with_tail=False)
        chart = next(root.iter(odf("chart:chart")), None)
        if chart is None:
            self._notes.append(unread_object())
            return ""
        self._seen += count(chart)
        title = chart.find(odf("chart:title"))
        table = "".join(map(self._block, chart.iterchildren(odf("table:table"))))
        self._boxes.append(("" if title is None else self._blocks(title)) + table)
        return ""

    # --- headers and footers of the pages ---

    def _margins(self, kind: str) -> str:
        """Return all headers or footers of pages, each text once."""
        self._at_margin = True
        html, seen = "", set()
        for margin in self._pages.iter(*(odf(f"style:{kind}{end}") for end in ("", "-left", "-first"))):
            text = "".join(margin.itertext()).strip()
            if text not in seen and margin.get(odf("style:display")) != "false":
                seen.add(text)
                self._seen += count(margin)
                html += self._blocks(margin)
        self._at_margin = False
        return html

    def _margin(self, paragraph: Any) -> str:
        """Return a paragraph of a header without page numbers and the few words at them."""
        if next(paragraph.iter(*_PAGE_NUMBERS), None) is None:
            return self._inline(paragraph)
        counted = count(paragraph)
        for element in list(paragraph.iter(*_PAGE_NUMBERS, odf("text:tab"))):
            element.text = "\t" if element.tag == odf("text:tab") else PAGE_NUMBER
        text = without_page_numbers("".join(paragraph.itertext()))
        self._left_out["running heads and page numbers"] += counted - count_characters(text)
        return escape(text)
