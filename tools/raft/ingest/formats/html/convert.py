"""Convert the tree of an HTML page to Markdown, without links, images and emphasis."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString
from markdownify import MarkdownConverter

from ....text.normalise import UNSPACED
from .tables import read_table, to_line, to_markdown
from .tree import BLOCKS, attribute, elements, word_set

_ROMAN = ((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"),
          (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"))  # fmt: skip
_STYLES = {"lower-alpha": "a", "lower-latin": "a", "upper-alpha": "A", "upper-latin": "A", "lower-roman": "i",
           "upper-roman": "I"}  # fmt: skip
# A line end between characters of a script that is written without blanks.
_UNSPACED_BREAK = re.compile(rf"(?<={UNSPACED.pattern})\n(?={UNSPACED.pattern})")
# Blocks that the converter knows; the others become divisions.
_KNOWN = word_set(
    "article blockquote br caption dd div dl dt figcaption h1 h2 h3 h4 h5 h6 hr li ol p pre section table "
    "tbody td tfoot th thead tr ul [document]"
)


def to_text(soup: BeautifulSoup) -> str:
    """Convert a page to Markdown; changes the tree."""
    for tag in elements(soup, "xmp", "listing", "plaintext"):
        tag.name = "pre"
    for tag in elements(soup, "menu", "dir"):
        tag.name = "ul"
    for tag in elements(soup, *(BLOCKS - _KNOWN)):
        tag.name = "div"
    for wrapper in elements(soup, "div"):
        if wrapper.parent is not None and wrapper.parent.name in ("ol", "ul") and wrapper.find("li"):
            wrapper.unwrap()
    for nested in elements(soup, "ol", "ul"):
        in_list = nested.parent is not None and nested.parent.name in ("ol", "ul")
        if in_list and isinstance(item := nested.find_previous_sibling("li"), Tag):
            item.append(nested.extract())
    for ordered in soup.find_all("ol"):
        _number(ordered)
    for code in soup.find_all("pre"):
        _flatten_code(code)
    soup.smooth()
    text = _Converter(
        heading_style="ATX",
        bullets="-",
        strip=[
            "a",
            "img",
            "b",
            "strong",
            "i",
            "em",
            "video",
            "audio",
        ],  # quotes are compared with plain words
        escape_asterisks=False,
        escape_underscores=False,
        escape_misc=False,
        code_language_callback=lambda code: attribute(code, "lang"),
    ).convert_soup(soup)
    text = re.sub(r"[ \t]+\n", "\n", text.replace("\xa0", " ").replace("\xad", ""))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _number(ordered: Tag) -> None:
    """Give each item of an ordered list the number that a browser shows."""
    items = ordered.find_all("li", recursive=False)
    backwards = ordered.has_attr("reversed")
    style = re.search(r"list-style(?:-type)?\s*:\s*([a-z-]+)", attribute(ordered, "style"))
    kind = (style and _STYLES.get(style.group(1))) or attribute(ordered, "type")
    number = _integer(attribute(ordered, "start"), len(items) if backwards else 1)
    # Pages that write the numbers themselves hide those of the list.
    written = sum(re.match(r"\s*\(?\d+(?:\.\d+)*[.)]\s", item.get_text()) is not None for item in items)
    for item in items:
        number = _integer(attribute(item, "value"), number)
        item["value"] = (
            "-" if 2 * written > len(items) else f"{_label(number, attribute(item, 'type') or kind)}."
        )
        number += -1 if backwards else 1


def _integer(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"\s*[-+]?[0-9]{1,9}\s*", text) else default


def _label(number: int, kind: str) -> str:
    """Return a number as the list's type asks: 3, c, C, iii or III."""
    label = ""
    if kind in ("a", "A") and number > 0:
        while number:
            number, letter = divmod(number - 1, 26)
            label = chr(ord("a") + letter) + label
    elif kind in ("i", "I") and 0 < number < 4000:
        for value, letters in _ROMAN:
            label += letters * (number // value)
            number %= value
    return (label.upper() if kind.isupper() else label) or str(number)


def _flatten_code(code: Tag) -> None:
    """Reduce preformatted text to its characters; programs set each line of code in an element of its own."""
    language = re.search(r"\b(?:language|lang|brush:|highlight-source)[- ]?([\w+#-]+)", _classes(code))
    for line_break in code.find_all("br"):
        line_break.replace_with(NavigableString("\n"))
    for block in elements(code, "div", "p", "li", "tr"):
        if not block.get_text().endswith("\n"):
            block.append(NavigableString("\n"))
    code.string = code.get_text()
    code["lang"] = language.group(1) if language else ""


def _classes(code: Tag) -> str:
    inner = code.find("code")
    tags = [code, *([inner] if isinstance(inner, Tag) else []), *([code.parent] if code.parent else [])]
    return " ".join(attribute(tag, "class") for tag in tags)


class _Converter(MarkdownConverter):
    def process_text(self, el: NavigableString, parent_tags: set[str] | None = None) -> str:
        text = str(super().process_text(el, parent_tags))  # type: ignore[misc]
        if "pre" in (parent_tags or ()):
            return text
        return _UNSPACED_BREAK.sub("", text).replace(
            "\n", " "
        )  # the lines of the source are no lines of text

    def process_tag(self, node: Tag, parent_tags: set[str] | None = None) -> str:
        if node.name != "table":
            return str(super().process_tag(node, parent_tags))  # type: ignore[misc]
        tags = {*(parent_tags or ()), "table", "tr"}
        grid = read_table(node, lambda cell: self._cell(cell, tags))
        if "_inline" in tags:
            return f" {to_line(grid)} "
        return f"\n\n{to_markdown(grid)}\n\n"

    def _cell(self, cell: Tag, tags: set[str]) -> str:
        return " ".join(str(super().process_tag(cell, {*tags, "_inline"})).split())  # type: ignore[misc]

    def convert_td(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return text

    convert_th = convert_caption = convert_td

    def convert_list(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        if "_inline" in parent_tags:
            return f" {text.strip().removesuffix(';')} "
        lines = text.strip("\n")
        return f"\n{lines}" if "li" in parent_tags else f"\n\n{lines}\n\n"

    convert_ol = convert_ul = convert_list

    def convert_li(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        text = text.strip()
        if not text:
            return ""
        numbered = el.parent is not None and el.parent.name == "ol"
        label = attribute(el, "value") if numbered else "-"
        if "_inline" in parent_tags:
            return f"{label + ' ' if numbered else ''}{text}; "
        indent = " " * (len(label) + 1)
        return f"\n{label} " + re.sub(r"\n(?=[^\n])", "\n" + indent, text) + "\n"

    def convert_p(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        # What is left out of a line leaves two blanks; in code they mean something.
        text = text if "`" in text else re.sub(r"(?<=\S) {2,}(?=\S)", " ", text)
        return str(super().convert_p(el, text, parent_tags))  # type: ignore[misc]

    def convert_br(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        return (" " if "_inline" in parent_tags else "\n") + text

    def convert_pre(self, el: Tag, text: str, parent_tags: set[str]) -> str:
        if not text.strip():
            return ""
        if "_inline" in parent_tags:
            return f" `{' '.join(text.split())}` "
        longest = max(map(len, re.findall(r"(?m)^\s*(`{3,})", text)), default=2)
        code = re.sub(r"\A(?:[ \t]*\n)+|\s+\Z", "", text)
        fence = "`" * (longest + 1)
        return f"\n\n{fence}{attribute(el, 'lang')}\n{code}\n{fence}\n\n"
