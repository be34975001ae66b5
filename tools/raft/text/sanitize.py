"""Make untrusted text harmless before it enters a prompt or a dataset."""

from __future__ import annotations

import re
import unicodedata

from ..raft_format import RESERVED

# promptflow splits a rendered prompt into chat messages at these lines.
_ROLE_LINE = re.compile(
    r"(?im)^((?:[^\S\n]*#)?[^\S\n]*(?:system|user|assistant|function|tool)\s*):(?=[^\S\n]*(?:\n|\Z))"
)
# It also cuts a message at this pair of lines and drops what comes before, instructions included.
_NAME_LINE = re.compile(r"(name\s*):(?=[^\S\n]*\n\s*\S+\s*(?:#{1,2}\s*)?content\s*:)")
# Every sign that ends a line for one program or another; joined words are worse than one line too many.
# Programs that write text twice through text mode leave \r\r\n.
_LINE_END = re.compile("\r\r?\n|[\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# A hyphen that shows only where the line ends there.
_HYPHEN_AT_LINE_END = re.compile("\xad[ \t]*\n[ \t]*(?=\\w)")
# What a terminal obeys and does not show: colours and cursor moves, window titles, character sets.
_ESCAPE = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]|\x1b[\\]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\\\)"
    "|\x1b[()*+][0-9AB]|\x1b[=>78DEHMNOZc]"
)
# Manual pages print a letter twice for bold, and a line below it: N backspace N, _ backspace N.
_OVERSTRIKE = re.compile("(?<=[^_\n])\x08_|[^\n\x08]\x08")
# Windows-1252 that was decoded as Latin-1; the rest of the range are controls. (U+0085 ends a line.)
_WINDOWS = {
    ord(latin): windows
    for latin in map(chr, range(0x80, 0xA0))
    if (windows := latin.encode("latin-1").decode("cp1252", "ignore"))
}
_C1 = re.compile("[\x80-\x9f]")
# Dropped: controls, parts of characters, and what nobody sees but a model reads. Signs that turn the order of
# the letters around (U+202A-202E, U+2066-2069) let a person read another text than the model; tags
# (U+E0000-E007F) hide whole sentences. Joiners and direction marks stay: Persian, Indic scripts and emoji
# are written with them.
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x9f\xad\u200b\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SURROGATE = re.compile("[\ud800-\udfff]")


def sanitize(text: str) -> str:
    """Defuse role lines, chat-template markers and RAFT tags in untrusted text.

    A tag gets a space after its first character, a role line a full-width colon: a person can still read
    it, but no parser recognises it. All line ends become \\n; control characters and invisible ones are
    dropped. Sanitized text is returned unchanged.
    """
    text = _HYPHEN_AT_LINE_END.sub("", remove_terminal_codes(unify_line_ends(text)))
    text = _DROPPED.sub("", text.translate(_WINDOWS) if _C1.search(text) else text)
    return RESERVED.sub(lambda match: match.group(0) + " ", defuse_roles(text))


def sanitize_line(text: str) -> str:
    """Sanitize text and join it into one line, for titles and reasons."""
    return " ".join(sanitize(text).split())


def sanitize_name(name: str) -> str:
    """Sanitize the name of a file or source, so that equal names are equal texts.

    Accents are composed (NFC): some systems store them apart. Bytes that are no text show as U+FFFD.
    """
    return unicodedata.normalize("NFC", sanitize_line(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", name)))


def unify_line_ends(text: str) -> str:
    """Replace the line ends of all systems, vertical tabs and form feeds among them, by \\n."""
    return _LINE_END.sub("\n", text).replace("\x1f", " ")


def remove_terminal_codes(text: str) -> str:
    """Remove the escape sequences and the overstruck letters of text made for a terminal or a printer."""
    if "\x08" in text:
        text = _OVERSTRIKE.sub("", text)
    return _ESCAPE.sub("", text) if "\x1b" in text else text


def defuse_roles(text: str) -> str:
    """Replace the colon of role lines with a full-width one, so that text stays within its message."""
    text = _ROLE_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
    return _NAME_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
