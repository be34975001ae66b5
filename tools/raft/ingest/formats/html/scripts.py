"""Write superscripts and subscripts as text, and leave out the marks of notes."""

from __future__ import annotations

import re

from bs4 import BeautifulSoup, Tag
from bs4.element import NavigableString

from .tree import LeftOut, attribute, elements, has_class, live, text_before, word_set, write

_ORDINALS = word_set("st nd rd th d er ers re res ère e es ème eme me o a os as º ª")
_BACK_LINKS = word_set("mw-cite-backlink footnote-back footnote-backref")
_TRADEMARKS = {"tm": "™", "sm": "℠", "®": "®", "©": "©"}


# Programs that write styles instead of elements.
_RAISED = re.compile(r"vertical-align\s*:\s*super")
_LOWERED = re.compile(r"vertical-align\s*:\s*sub\b")


def raised(text: str, before: str) -> str:
    """Write a superscript as plain text: 10^5, m^-2, x^(n+1); but 1st, Mme and 14C.

    before: the text that it follows. Unicode's own superscripts are not used, since NFKC, by which quotes are
    compared, turns 10⁵ into 105.
    """
    if re.search(r"\b10\s\Z", before):  # the one number that is raised even after a blank
        before = before.rstrip()
    text, base = text.strip(), before[-1:]
    if not text or not base or not (base.isalnum() or base in ")]}|'’"):
        return text
    if text.casefold() in _TRADEMARKS:
        return _TRADEMARKS[text.casefold()]
    word = re.search(r"\w*\Z", before).group(0)  # type: ignore[union-attr]
    is_ordinal = base.isdigit() and text in _ORDINALS
    is_abbreviation = (
        word[:1].isupper() and text.isalpha() and ((text.islower() and len(text) > 1) or text == "o")
    )
    if is_ordinal or is_abbreviation or not re.search(r"\w", text):
        return text
    is_short = re.fullmatch(r"[-−+–]?(?:\d+(?:[.,]\d+)?|\w)", text)
    return f"^{text}" if is_short or re.fullmatch(r"\([^()]*\)", text) else f"^({text})"


def lowered(text: str, before: str) -> str:
    """Write a subscript as plain text: H2O, x_i, a_(i,j), 101_2."""
    text, base = text.strip(), before[-1:]
    if not text or not base or not (base.isalnum() or base in ")]}|'’"):
        return text
    return text if text.isdigit() and not base.isdigit() else "_" + (text if text.isalnum() else f"({text})")


def write_scripts(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Write superscripts and subscripts as text; leave out the marks of notes."""
    for tag in soup.find_all("span", style=_RAISED):
        tag.name = "sup"
    for tag in soup.find_all("span", style=_LOWERED):
        tag.name = "sub"
    _leave_out_marks(soup, left_out)
    for tag in soup.find_all("sup"):
        _write_fraction(tag)
    for tag in reversed(elements(soup, "sup", "sub")):  # the inner ones first
        written = raised if tag.name == "sup" else lowered
        write(tag, written(tag.get_text(), text_before(tag)))


def _write_fraction(sup: Tag) -> None:
    """Write <sup>1</sup>/<sub>2</sub> as 1/2, and apart from a whole number before it."""
    slash = sup.next_sibling
    sub = slash.next_sibling if slash else None
    is_slash = isinstance(slash, NavigableString) and slash.strip() in ("/", "⁄")
    if is_slash and isinstance(sub, Tag) and sub.name == "sub":
        blank = " " if text_before(sup)[-1:].isdigit() else ""
        write(sup, blank + sup.get_text().strip())
        write(sub, sub.get_text().strip())


def _leave_out_marks(soup: BeautifulSoup, left_out: LeftOut) -> None:
    """Leave out the marks that lead to notes and back: [12], ¹ with a link, ↩."""
    for tag in live(elements(soup, "a", "sup")):
        if _is_mark(tag):
            left_out.drop(tag, "reference marks")
    for tag in live(elements(soup, "a", "span")):
        if has_class(tag, _BACK_LINKS) or tag.get("role") == "doc-backlink":
            left_out.drop(tag, "reference marks")
    for tag in live(soup.find_all("sup")):
        # A number after the full stop of a sentence can be no power.
        text = tag.get_text().strip()
        if re.search(r"[^\W_][.,;:!?”»\"][”»\"]?\Z", text_before(tag)) and re.fullmatch(
            r"\d{1,3}(?:\s*[,–-]\s*\d{1,3})*", text
        ):
            left_out.drop(tag, "reference marks")


def _is_mark(tag: Tag) -> bool:
    text = tag.get_text().strip()
    if len(text) > 40:
        return False
    if tag.name == "sup":
        link = tag.find("a")
        return re.fullmatch(r"\[[^\[\]]{1,40}\]", text) is not None or (
            isinstance(link, Tag) and _leads_to_note(link)
        )
    kinds = f"{attribute(tag, 'class')} {attribute(tag, 'role')} {attribute(tag, 'epub:type')}"
    if re.search(r"\b(?:footnote-ref|noteref|doc-noteref|footnote-reference)\b", kinds):
        return True
    has_sup = tag.find("sup") is not None
    return _leads_to_note(tag) and (
        has_sup or re.fullmatch(r"\[[\w*†‡§]{1,4}\]|[*†‡§]{1,3}", text) is not None
    )


def _leads_to_note(link: Tag) -> bool:
    return "#" in attribute(link, "href")[:-1]
