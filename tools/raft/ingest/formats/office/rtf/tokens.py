"""Cut RTF (Microsoft's specification 1.9.1) into tokens, and decode its bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import NamedTuple


class Token(NamedTuple):
    """A piece of RTF. kind: "{", "}", "word", "symbol", "byte" (\\'hh), "text" (bytes as they are)."""

    kind: str
    name: str = ""  # of a control word or symbol
    number: int | None = None  # of a control word
    data: bytes = b""  # of text


_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?[0-9]{1,10})?[ ]?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])"
    rb"|([{}])|[\r\n\x00]+|([^\\{}\r\n\x00]+)",
    re.DOTALL,
)
# Character sets of fonts, as \\fcharset numbers them, and the code pages they stand for.
_CHARSETS = {
    77: "mac_roman", 78: "cp932", 79: "cp949", 80: "gb18030", 81: "cp950", 128: "cp932", 129: "cp949",
    130: "johab", 134: "gb18030", 136: "cp950", 161: "cp1253", 162: "cp1254", 163: "cp1258", 177:
    "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437",
    255: "cp850",
}  # fmt: skip
SYMBOL_CHARSET = 2


def read_tokens(data: bytes) -> Iterator[Token]:
    """Yield the tokens of a file; the bytes after \\bin are left out, since they are no text."""
    place = 0
    while match := _TOKEN.search(data, place):
        place = match.end()
        word, number, code, symbol, brace, text = match.groups()
        if word is not None:
            value = int(number) if number is not None else None
            if word == b"bin":
                place += max(value or 0, 0)
            yield Token("word", word.decode("ascii"), value)
        elif code is not None:
            yield Token("byte", data=bytes([int(code, 16)]))
        elif symbol is not None:
            yield Token("symbol", symbol.decode("latin-1"))
        elif brace is not None:
            yield Token(brace.decode("ascii"))
        elif text is not None:
            yield Token("text", data=text)


def codec_of_page(page: int | None, otherwise: str) -> str:
    """Return the codec of a code page as \\ansicpg and \\cpg number them."""
    others = {10000: "mac_roman", 10007: "mac_cyrillic", 54936: "gb18030"}
    for name in (f"cp{page}", others.get(page or 0, "")):
        try:
            return codecs.lookup(name).name
        except LookupError:
            continue
    return otherwise


def codec_of_charset(charset: int | None) -> str | None:
    """Return the codec of a font, or nothing if it is that of the document."""
    return _CHARSETS.get(charset or 0)
