"""Unpack office files: ZIP archives of XML parts, within limits and without trusting a part."""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

from ..parsed import Unreadable

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
        raise Unreadable(f"broken: cannot be unpacked as {kind}") from None


def sniff_archive(data: bytes) -> str:
    """Return which kind of file a ZIP archive is, such as "DOCX", by its table of contents; else "ZIP"."""
    if match := _MIMETYPE.match(data):
        return _BY_MIMETYPE.get(match.group(1), "ZIP")
    end = data.rfind(b"PK\x05\x06")
    if end < 0 or len(data) < end + 20:
        return "ZIP"
    size, start = struct.unpack_from("<II", data, end + 12)
    names = data[start : start + size]
    for kind, pattern in _BY_NAMES.items():
        if pattern.search(names):
            return kind
    return "ZIP"


# EPUB and OpenDocument files begin with their type, stored as it is.
_MIMETYPE = re.compile(rb"PK\x03\x04.{26}mimetype(application/[\w.+-]+?)(?=PK)", re.DOTALL)
_BY_MIMETYPE = {
    b"application/epub+zip": "EPUB",
    b"application/vnd.oasis.opendocument.text": "ODT",
    b"application/vnd.oasis.opendocument.text-template": "ODT",
    b"application/vnd.oasis.opendocument.spreadsheet": "ODS",
    b"application/vnd.oasis.opendocument.presentation": "ODP",
}
_BY_NAMES = {
    kind: re.compile(rb"PK\x01\x02.{42}" + name, re.DOTALL)
    for kind, name in {
        "DOCX": rb"word[/\\]",
        "PPTX": rb"ppt[/\\]",
        "XLSX": rb"xl[/\\]",
        "EPUB": rb"META-INF/container\.xml",
        "ODT": rb"content\.xml",
    }.items()
}


def is_xml(name: str) -> bool:
    """Return whether a part of an Office or OpenDocument file is XML, by its name."""
    return name.lower().endswith((".xml", ".rels"))


def with_usual_names(data: bytes) -> bytes:
    """Return a part of the strict form of Office files with the names that all others have."""
    return _STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", data)


def parse_xml(data: bytes) -> Any:
    """Return the root of an XML part; entities are not resolved, and nothing outside it is read.

    Raises Unreadable if it is not well-formed, nested too deeply, or declares anything.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(with_usual_names(data), parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Unreadable("broken: one of its parts is no XML that can be read") from None
    if root.getroottree().docinfo.internalDTD is not None and any(
        root.getroottree().docinfo.internalDTD.iterentities()
    ):
        raise Unreadable("broken: one of its parts declares entities")
    return root
