"""Read HTML pages: their encoding, as the WHATWG's standard has it; markup.py converts the content."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

import webencodings

from ..parsed import Parsed
from ..plain import decode
from .markup import parse_markup

_PRESCAN = 4096  # bytes; the standard asks for 1024, and browsers go further
_META = re.compile(rb"<meta[\s/](?:[^>\"']|\"[^\"]*\"|'[^']*')*>", re.I)
_CHARSET = re.compile(rb"""charset\s*=\s*["']?\s*([\w.:-]+)""", re.I)
_XML_ENCODING = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([\w.:-]+)""", re.I)
_SINGLE_BYTE = re.compile(r"cp\d{3,4}|iso8859-\d+|koi8-[ru]|mac-\w+")
_MULTI_BYTE = re.compile(rb"[\xc2-\xf4][\x80-\xbf]+")
_ENOUGH = 4  # characters of several bytes: by chance, other text is valid UTF-8 only if it is shorter


def read_html(path: str) -> Parsed:
    """Read an HTML page: its text, headings, lists, tables and formulas, without navigation and hidden text.

    Raises Unreadable if it cannot be decoded.
    """
    return parse_markup(decode_page(Path(path).read_bytes()))


def decode_page(data: bytes) -> str:
    """Decode a page by its byte order mark, else by what it declares, else as UTF-8. Raises Unreadable.

    A page that is valid UTF-8 is read as UTF-8 even if it declares another encoding: a template
    copied without a thought is the common reason, and a browser shows such a page as gibberish.
    """
    encoding = declared_encoding(data)
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or _is_utf8(data):
        encoding = "utf-8"
    if _SINGLE_BYTE.fullmatch(encoding) and b"\0" not in data:
        # The standard reads a byte without a character as a control character.
        return data.decode(encoding, _CONTROL_CHARACTERS)
    return decode(data, encoding)


def declared_encoding(data: bytes) -> str:
    """Return Python's name of the encoding that a page declares, empty if it declares none that is known."""
    head = re.sub(rb"<!--.*?(?:-->|\Z)", b"", data[:_PRESCAN], flags=re.S)
    for meta in _META.findall(head):
        is_declaration = re.search(rb"\bcharset\s*=", meta, re.I) and (
            re.search(rb"http-equiv", meta, re.I) or not re.search(rb"\bcontent\s*=", meta, re.I)
        )
        if is_declaration and (label := _CHARSET.search(meta)):
            return web_encoding(label.group(1).decode())
    declaration = _XML_ENCODING.match(data[:_PRESCAN].removeprefix(codecs.BOM_UTF8))
    return web_encoding(declaration.group(1).decode()) if declaration else ""


def web_encoding(label: str) -> str:
    """Return Python's name of the encoding that a label means on the web, empty if it is unknown.

    The web means more by many labels than they say: windows-1252 by latin-1, gb18030 by gb2312. A declaration
    that can be read as bytes is in no UTF-16, so that this label means UTF-8.
    """
    encoding = webencodings.lookup(label)
    if encoding is None or encoding.name == "replacement":  # unknown to browsers, or refused by them
        return _other_encoding(label)
    wider = {"gbk": "gb18030", "utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "cp1252"}
    return wider.get(encoding.name) or str(encoding.codec_info.name)


def _other_encoding(label: str) -> str:
    """Return Python's name of an encoding that browsers do not read, such as cp850, empty if unknown."""
    if not re.fullmatch(r"(?:cp|ibm|iso|hz|euc|koi|mac|utf-?7)[\w.:-]*", label, re.I):
        return ""
    try:
        return codecs.lookup(label).name
    except LookupError:
        return ""


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return len(_MULTI_BYTE.findall(data)) >= _ENOUGH


def _to_control_character(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return chr(error.object[error.start]), error.start + 1


_CONTROL_CHARACTERS = "raft-control-characters"
codecs.register_error(_CONTROL_CHARACTERS, _to_control_character)
