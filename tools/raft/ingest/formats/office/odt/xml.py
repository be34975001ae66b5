"""Name and handle the elements of OpenDocument files."""

from __future__ import annotations

from functools import cache
from typing import Any

from lxml import etree

from ...parsed import count_characters

_NAMESPACES = {
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "style": "urn:oasis:names:tc:opendocument:xmlns:style:1.0",
    "draw": "urn:oasis:names:tc:opendocument:xmlns:drawing:1.0",
    "form": "urn:oasis:names:tc:opendocument:xmlns:form:1.0",
    "chart": "urn:oasis:names:tc:opendocument:xmlns:chart:1.0",
    "manifest": "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0",
    "math": "http://www.w3.org/1998/Math/MathML",
    "xlink": "http://www.w3.org/1999/xlink",
    "dc": "http://purl.org/dc/elements/1.1/",
    "xml": "http://www.w3.org/XML/1998/namespace",
}


@cache
def odf(name: str) -> str:
    """Return the full name of an element or attribute, such as "text:p"."""
    prefix, _, local = name.partition(":")
    return f"{{{_NAMESPACES[prefix]}}}{local}"


def count(element: Any) -> int:
    """Count the letters and digits in an element."""
    return sum(map(count_characters, element.itertext()))


def remove(element: Any) -> None:
    """Remove an element, and keep the text after it."""
    parent, previous = element.getparent(), element.getprevious()
    if element.tail:
        if previous is None:
            parent.text = (parent.text or "") + element.tail
        else:
            previous.tail = (previous.tail or "") + element.tail
    parent.remove(element)


def without_prefixes(formula: Any) -> Any:
    """Return MathML as HTML has it."""
    copy = etree.Element(etree.QName(formula).localname, dict(formula.attrib))
    copy.text, copy.tail = formula.text, formula.tail
    copy.extend(without_prefixes(part) for part in formula)
    return copy
