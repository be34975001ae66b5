"""Read plain text and reStructuredText, decode bytes, and detect the type of a file from its first bytes."""

from __future__ import annotations

import codecs
import re

from ...text.sanitize import remove_terminal_codes, unify_line_ends
from .parsed import Parsed, Unreadable, count_characters, make_parsed

_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "OLE"),
    (b"\x89PNG", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF8", "GIF"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"{\\rtf", "RTF"),
    (b"%!PS", "PostScript"),
)
# The UTF-32 mark begins with the bytes of the UTF-16 mark, so it is tried first.
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_HTML = re.compile(
    rb"\s*(?:<\?[^>]*>\s*|<!--(?:(?!-->).)*-->\s*)*<(?:!doctype html|html|head)\b", re.I | re.S
)
_XML = re.compile(rb"\s*<(?:\?xml\b|!doctype\s|svg\b|rss\b)", re.I)
_NOTEBOOK = re.compile(
    rb'\s*\{\s*"(?:cells|nbformat|metadata|worksheets)"\s*:.*"(?:cell_type|nbformat)"\s*:', re.S
)
_MAIL = re.compile(rb"(?:From .*\r?\n)?(?:[A-Za-z][A-Za-z0-9-]*:.*\r?\n(?:[ \t].*\r?\n)*)+")
_MAIL_FIELD = re.compile(
    rb"^(?:MIME-Version|Content-Transfer-Encoding|Return-Path|Received: (?:from|by)\b)", re.I | re.M
)

# Eight lines and more of nothing else, or one endless line: keys, certificates, attachments of mail. Small
# and capital letters and digits all occur, unlike in a genome.
_ENCODED = re.compile(
    r"^(?=[A-Za-z0-9+/]{60})(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])(?:(?:[A-Za-z0-9+/]{60,80}\n){8,}[A-Za-z0-9+/]{0,80}|[A-Za-z0-9+/]{1000,})={0,2}$",
    re.MULTILINE,
)
_EMBEDDED = re.compile(
    r"data:[\w.+-]{1,40}/[\w.+-]{1,80}(?:;[\w=.-]{1,80}){0,4};base64,[A-Za-z0-9+/=_-]{32,}"
)
_LONG_LINE = 2000  # characters; people do not write such lines with so many signs of program code
_CODE_SIGNS = re.compile(r"[{}();=<>&]")

# A comment of reStructuredText, with the indented lines below it: what follows the dots is no directive,
# target, footnote or substitution. Only at the margin, since examples are indented.
_RST_COMMENT = re.compile(
    r"^\.\.(?:[ \t]+(?![ \t]|\[|_|\||[\w.+:-]+::).*)?(?:\n(?:[ \t]+\S.*|[ \t]*(?=\n[ \t]+\S)))*$", re.M
)
_RST_TITLE = re.compile(
    r"""(?:^([=\-~^"'#*+.:_`])\1{2,}[ \t]*\n)?^[ \t]*(\S.*)\n([=\-~^"'#*+.:_`])\3{2,}[ \t]*$""", re.M
)


def sniff(head: bytes) -> str:
    """Return what the first bytes are: a known format, "binary", or "" if they may be text of any kind."""
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    mark = next((mark for mark, _ in _BYTE_ORDER_MARKS if head.startswith(mark)), b"")
    if b"\x00" in head:
        return "" if mark else "binary"
    head = head[len(mark) :]
    if _HTML.match(head):
        return "HTML"
    if _XML.match(head):
        return "XML"
    if _NOTEBOOK.match(head):
        return "notebook"
    fields = _MAIL.match(head.lstrip(b"\r\n"))
    return "mail" if fields and _MAIL_FIELD.search(fields.group()) else ""


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
    """Read plain text. Raises Unreadable if it cannot be decoded, or is no text that people read."""
    text = unify_line_ends(decode(data))
    kept, left_out = remove_codes(text)
    return make_parsed(kept.strip(), left_out=left_out, seen=count_characters(text))


def read_rst(data: bytes) -> Parsed:
    """Read reStructuredText unchanged, without its comments. Raises Unreadable like `read_text`."""
    text = unify_line_ends(decode(data))
    kept, left_out = remove_codes(text)
    shown = _RST_COMMENT.sub("", kept).strip()
    left_out["comments"] = _count_lost(kept, shown)
    title = _RST_TITLE.search(shown)
    return make_parsed(
        shown, title=title[2].strip() if title else "", left_out=left_out, seen=count_characters(text)
    )


def remove_codes(text: str) -> tuple[str, dict[str, int]]:
    """Return a text without what only machines read, and the characters left out, by reason.

    Raises Unreadable if it is hardly anything else.
    """
    shown = remove_terminal_codes(text)
    written = _EMBEDDED.sub("", shown)  # pictures in Markdown
    kept = _ENCODED.sub("", written)
    if 2 * len(kept) < len(written) and count_characters(written) > 2 * count_characters(kept):
        raise Unreadable("encoded data (base64), not text")
    long = [line for line in kept.split("\n") if len(line) > _LONG_LINE]
    if 2 * sum(map(len, long)) > len(kept) and len(_CODE_SIGNS.findall("".join(long))) > len(kept) // 20:
        raise Unreadable("program code or data without line breaks, not text")
    return kept, {
        "terminal codes": _count_lost(text, shown),
        "embedded data": _count_lost(shown, kept),
    }


def _count_lost(text: str, kept: str) -> int:
    return 0 if text == kept else count_characters(text) - count_characters(kept)
