"""Read and make the XML of Office files (ISO 29500): names of elements, their values, related parts."""

from __future__ import annotations

import posixpath
import re
from functools import cache
from typing import Any
from urllib.parse import unquote

from lxml import etree

from .unpack import parse_xml

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


@cache
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


def text_of(element: Any, *tags: str) -> str:
    """Return the text of the elements with these full names within an element."""
    return "".join(found.text or "" for found in element.iter(*tags))


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


def choose_alternatives(root: Any) -> None:
    """Keep one form of each content that is there in two: the newer one, else the fallback."""
    for element in list(root.iter(tag("mc:AlternateContent"))):
        choice = child(element, "mc:Choice")
        if choice is None:
            choice = child(element, "mc:Fallback")
        element[:] = [] if choice is None else list(choice)
        unwrap(element)


def relations(parts: dict[str, bytes], part: str) -> dict[str, tuple[str, str]]:
    """Return the related parts of an Office part: id → (last word of the type, name of the part)."""
    folder, name = posixpath.split(part)
    data = parts.get(f"{folder}/_rels/{name}.rels".lstrip("/"))
    found = {}
    for element in parse_xml(data) if data else ():
        target = unquote(element.get("Target") or "").replace("\\", "/")
        if element.get("TargetMode") != "External":
            target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
        found[element.get("Id") or ""] = ((element.get("Type") or "").rpartition("/")[2], target)
    return found


def relation_id(element: Any) -> str:
    """Return the id by which an element names a related part."""
    return element.get(tag("r:id")) or element.get(tag("r:dm")) or ""


def main_part(parts: dict[str, bytes], usual: str) -> str:
    """Return the name of the part that holds the document; `usual` if the file does not say."""
    found = [name for kind, name in relations(parts, "").values() if kind == "officeDocument"]
    return found[0] if found and found[0] in parts else usual


def core_title(parts: dict[str, bytes]) -> str:
    """Return the title that the properties of an Office file give it."""
    names = [name for kind, name in relations(parts, "").values() if kind == "core-properties"]
    if not names or names[0] not in parts:
        return ""
    return (parse_xml(parts[names[0]]).findtext("{http://purl.org/dc/elements/1.1/}title") or "").strip()
