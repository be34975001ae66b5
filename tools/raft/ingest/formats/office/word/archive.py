"""Write a Word document of paragraphs in a few known styles, for pandoc."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from lxml import etree

from ..ooxml import PREFIXES, make

_OFFICE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def write_archive(document: Any, notes: dict[str, Any]) -> bytes:
    """Return a DOCX of a document and its footnotes and endnotes, which may be nothing."""
    parts = {"styles": _styles(), "numbering": _bullets()}
    parts |= {kind: root for kind, root in notes.items() if root is not None}
    kinds = [("document", "document.main"), *((name, name) for name in parts)]
    types = "".join(
        f'<Override PartName="/word/{name}.xml" ContentType="{_OFFICE}.{kind}+xml"/>' for name, kind in kinds
    )
    xml = '<Default Extension="xml" ContentType="application/xml"/>'
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(
            "[Content_Types].xml", f'<Types xmlns="{_PACKAGE}/content-types">{xml}{types}</Types>'
        )
        archive.writestr("_rels/.rels", _relationships({"officeDocument": "word/document.xml"}))
        related = {name: f"{name}.xml" for name in parts}
        archive.writestr("word/_rels/document.xml.rels", _relationships(related))
        for name, root in {"document": document, **parts}.items():
            xml = etree.tostring(_with_known_prefixes(root), encoding="utf-8", xml_declaration=True)
            archive.writestr(f"word/{name}.xml", xml)
    return data.getvalue()


def _with_known_prefixes(root: Any) -> Any:
    """Return the root of a part whose elements have the prefixes that pandoc goes by."""
    if root.prefix == "w" and root.nsmap.get("m", PREFIXES["m"]) == PREFIXES["m"]:
        return root
    # A copy, since elements from many sources are slow to move.
    copy = etree.fromstring(etree.tostring(root))
    renamed = etree.Element(copy.tag, copy.attrib, nsmap=PREFIXES)
    renamed.extend(copy)
    etree.cleanup_namespaces(renamed, keep_ns_prefixes=["w"])
    return renamed


def _relationships(targets: dict[str, str]) -> str:
    rows = "".join(
        f'<Relationship Id="r{number}" Type="{_RELATIONS}/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(targets.items())
    )
    return f'<Relationships xmlns="{_PACKAGE}/relationships">{rows}</Relationships>'


def _styles() -> Any:
    named = {f"Heading{level}": f"heading {level}" for level in range(1, 10)} | {"SourceCode": "Source Code"}
    return make(
        "styles",
        *(make("style", make("name", val=name), type="paragraph", styleId=id) for id, name in named.items()),
    )


def _bullets() -> Any:
    levels = (
        make("lvl", make("numFmt", val="bullet"), make("lvlText", val="•"), ilvl=str(level))
        for level in range(9)
    )
    return make(
        "numbering",
        make("abstractNum", *levels, abstractNumId="0"),
        make("num", make("abstractNumId", val="0"), numId="1"),
    )
