"""Read plain text and Markdown, decode bytes, and detect the type of a file from its first bytes."""

from __future__ import annotations

import codecs
import re

from .parsed import Parsed, Unreadable, make_parsed

_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"\x1f\x8b", "gzip"),
    (b"{\\rtf", "RTF"),
)
# The UTF-32 mark begins with the bytes of the UTF-16 mark, so it is tried first.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_HTML = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype html|html|head)\b", re.I | re.S)


def sniff(head: bytes) -> str:
    """Return what the first bytes are: a known binary format, "HTML", "binary", or "" if they may be text."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if any(head.startswith(mark) for mark, _ in _BYTE_ORDER_MARKS):
        return ""
    if b"\x00" in head:
        return "binary"
    return "HTML" if _HTML.match(head) else ""


def decode(data: bytes, declared: str = "") -> str:
    """Decode by the byte order mark, else the declared encoding, else as UTF-8.

    Encodings are not guessed from letter frequencies, since the guess is wrong too often for training
    data. Raises Unreadable if the bytes do not fit the encoding.
    """
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            data, declared = data[len(mark) :], encoding
            break
    else:
        if b"\x00" in data:
            raise Unreadable("binary, not text")
    try:
        return data.decode(declared or "utf-8")
    except LookupError:
        return decode(data)
    except UnicodeDecodeError as error:
        byte = f"byte 0x{data[error.start]:02X} at {error.start}"
        raise Unreadable(f"not {(declared or 'utf-8').upper()} text ({byte}); save it as UTF-8") from None


def read_text(data: bytes) -> Parsed:
    """Read plain text. Raises Unreadable if it cannot be decoded."""
    return make_parsed(decode(data).strip())


def read_markdown(data: bytes) -> Parsed:
    """Read Markdown unchanged, except that a front matter block is reduced to its title."""
    text = decode(data).replace("\r\n", "\n").strip()
    title = ""
    if front := _FRONT_MATTER.match(text):
        text = text[front.end() :].strip()
        if field := re.search(r"(?m)^title:[ \t]*(['\"]?)(.+?)\1[ \t]*$", front.group(1)):
            title = field.group(2)
    if not title and (heading := re.search(r"(?m)^#[ \t]+(.+?)[ \t]*#*$", text)):
        title = heading.group(1)
    return make_parsed(text, title=title)
