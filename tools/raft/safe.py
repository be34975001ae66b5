"""Make untrusted text harmless before it enters a prompt or a dataset."""

from __future__ import annotations

import re
import unicodedata

# Tags that mean something in a RAFT record, and markers that chat templates turn into roles.
_TAGS = re.compile(
    r"<(?=(?:/\s*)?(?:DOCUMENT|ANSWER|s)\s*>)"
    r"|<(?=\||</?\s*SYS)"
    r"|\[(?=/?INST\s*\])"
    r"|#(?=#\s*(?:begin|end)_quote)",
    re.IGNORECASE,
)
# promptflow splits a rendered prompt into chat messages at such lines.
_ROLE_LINE = re.compile(r"(?im)^(\s*#?\s*(?:system|user|assistant|function|tool)\s*):(?=\s*(?:\n|\Z))")
# ... and cuts a message at such a pair of lines: what stands before it would be lost, instructions included.
_NAME_LINE = re.compile(r"(name\s*):(?=[^\S\n]*\n\s*\S+\s*(?:#{1,2}\s*)?content\s*:)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def make_safe(text: str) -> str:
    """Defuse role lines, chat-template markers and RAFT tags in untrusted text.

    A tag gets a blank after its first character, a role line a full-width colon, so a person still
    reads what was there and no parser does. Control characters are dropped, line ends become \\n.
    Safe text comes back unchanged.
    """
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _TAGS.sub(lambda match: match.group(0) + " ", defuse_roles(text))


def defuse_roles(text: str) -> str:
    """Keep text in the one message it is part of: role lines get a full-width colon."""
    text = _ROLE_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
    return _NAME_LINE.sub("\\1\N{FULLWIDTH COLON}", text)


_QUOTES = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‘": "'",
        "’": "'",
        "‚": "'",
        "–": "-",
        "—": "-",
        "‑": "-",
        "−": "-",
    }
)
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")


def fold(text: str) -> str:
    """Fold what does not change the wording: Unicode forms, quotes and dashes, white space.

    Case is kept: a verbatim quote keeps it. Used to compare a quote with its document.
    """
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_QUOTES)
    return " ".join(text.split())
