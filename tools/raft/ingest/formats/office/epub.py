"""Read electronic books (EPUB 2 and 3): the pages of their spine in order, each converted by markup.py."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from typing import Any
from urllib.parse import unquote

from ..html.markup import parse_markup
from ..html.page import decode_page
from ..parsed import Parsed, Unreadable, make_parsed
from .unpack import parse_xml, read_parts

_MEDIA = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".css", ".js", ".ttf", ".otf", ".woff", ".woff2", ".mp3")
# Fonts may be scrambled in a book that is open otherwise.
_OPEN_ALGORITHMS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
# XHTML closes empty elements in the tag, which HTML takes for an opening tag.
_SELF_CLOSED = re.compile(r"<([a-zA-Z][\w:.-]*)(\s[^<>]*)?/>")
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_DECLARATION = re.compile(r"\s*<\?xml[^<>]*\?>")
_FRAME = re.compile(r"(</?)(?:header|footer|aside)\b", re.I)
_NOTE_MARK = re.compile(
    r"(?:<sup[^<>]*>)?<a\b[^<>]*\bnoteref\b[^<>]*>(?:<sup[^<>]*>)?\[?([^<>\[\]]{1,8})\]?(?:</sup>)?</a>(?:</sup>)?"
)


def read_epub(path: str) -> Parsed:
    """Read a book: its pages in the order of the spine, without the table of contents.

    Raises Unreadable if it is broken, protected, or unpacks to more than MAX_UNPACKED.
    """
    parts = read_parts(path, "EPUB", lambda name: not name.lower().endswith(_MEDIA))
    _check_protection(parts)
    name, package = _package(parts)
    texts, notes, title = [], [], _title(package)
    seen, left_out = 0, Counter[str]()
    for page in _spine(package, posixpath.dirname(name)):
        if page not in parts:
            notes.append(f"a page of the book is missing: {page}")
            continue
        try:
            parsed = parse_markup(_as_html(decode_page(parts[page])))
        except Unreadable as error:
            notes.append(f"a page of the book cannot be read: {page}: {error}")
            continue
        seen += parsed["seen"]
        left_out.update(parsed["left_out"])
        notes += parsed["notes"]
        texts.append(parsed["text"])
    text = "\n\n".join(filter(None, texts))
    return make_parsed(text, title=title, notes=list(dict.fromkeys(notes)), seen=seen, left_out=left_out)


def _check_protection(parts: dict[str, bytes]) -> None:
    data = parts.get("META-INF/encryption.xml")
    methods = parse_xml(data).iter("{*}EncryptionMethod") if data else ()
    if any(method.get("Algorithm") not in _OPEN_ALGORITHMS for method in methods):
        raise Unreadable("protected by DRM: only its seller's programs can open it")


def _package(parts: dict[str, bytes]) -> tuple[str, Any]:
    """Return the name and the root of the part that lists the pages."""
    container = parts.get("META-INF/container.xml")
    files = parse_xml(container).iter("{*}rootfile") if container else ()
    names = [file.get("full-path") or "" for file in files] + sorted(
        name for name in parts if name.endswith(".opf")
    )
    for name in names:
        if name in parts:
            return name, parse_xml(parts[name])
    raise Unreadable("broken: a ZIP file, but no EPUB")


def _spine(package: Any, folder: str) -> list[str]:
    """Return the names of the pages in reading order, each once."""
    hrefs = {item.get("id"): item.get("href") or "" for item in package.iter("{*}item")}
    pages = (hrefs.get(item.get("idref"), "") for item in package.iter("{*}itemref"))
    names = (unquote(page.partition("#")[0]) for page in pages if page)
    return list(dict.fromkeys(posixpath.normpath(posixpath.join(folder, name)) for name in names))


def _title(package: Any) -> str:
    found = next(package.iter("{http://purl.org/dc/elements/1.1/}title"), None)
    return "" if found is None else "".join(found.itertext()).strip()


def _as_html(page: str) -> str:
    """Return XHTML as HTML wants it.

    A book has no heads and feet of a site: what is in such elements is text. Marks of notes stay, as "[1]".
    """

    def close(match: re.Match[str]) -> str:
        name, attributes = match.group(1), match.group(2) or ""
        return match.group() if name.lower() in _VOID else f"<{name}{attributes}></{name}>"

    page = _SELF_CLOSED.sub(close, _DECLARATION.sub("", page, count=1))
    return _NOTE_MARK.sub(r"[\1]", _FRAME.sub(r"\1div", page))
