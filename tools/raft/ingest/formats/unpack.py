"""Unpack office files: ZIP archives of XML parts, within limits and without trusting a part."""

from __future__ import annotations

import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from lxml import etree

from .parsed import Unreadable

MAX_UNPACKED = 200 * 1024**2  # bytes a file may unpack to
# ISO 29500 Strict names the same elements by other addresses than all other Office files do.
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
_BROKEN = (zipfile.BadZipFile, zlib.error, NotImplementedError, ValueError, EOFError, OSError)


def read_parts(path: str, kind: str, wanted: Callable[[str], object]) -> dict[str, bytes]:
    """Return the wanted parts of an archive by name. `kind` is what the user calls the file, such as "DOCX".

    Raises Unreadable if it is broken, protected by a password, or unpacks to more than MAX_UNPACKED.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            size = sum(entry.file_size for entry in entries)
            if size > MAX_UNPACKED:
                limit = f"over the limit of {MAX_UNPACKED // 1024**2} MiB"
                raise Unreadable(f"unpacks to {size // 1024**2} MiB, {limit}")
            if any(entry.flag_bits & 1 for entry in entries):
                raise Unreadable(f"protected by a password: save the {kind} without one")
            # Some programs write backslashes, and a name may be there twice: the last one counts.
            names = {entry.filename.replace("\\", "/").lstrip("/"): entry for entry in entries}
            return {name: archive.read(entry) for name, entry in names.items() if wanted(name)}
    except _BROKEN:
        raise Unreadable(f"broken: not a {kind} that can be unpacked") from None


def is_xml(name: str) -> bool:
    """Return whether a part of an Office or OpenDocument file is XML, by its name."""
    return name.lower().endswith((".xml", ".rels"))


def parse_xml(data: bytes) -> Any:
    """Return the root of an XML part; entities are not resolved, and nothing outside it is read.

    Raises Unreadable if it is not well-formed, nested too deeply, or declares anything.
    """
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(_STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", data), parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Unreadable("broken: one of its parts is no XML that can be read") from None
    if root.getroottree().docinfo.internalDTD is not None and any(
        root.getroottree().docinfo.internalDTD.iterentities()
    ):
        raise Unreadable("broken: one of its parts declares entities")
    return root


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
