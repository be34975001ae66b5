"""Make untrusted text harmless before it enters a prompt or a dataset."""

from __future__ import annotations

import re

from ..raft_format import RESERVED

# promptflow splits a rendered prompt into chat messages at these lines.
_ROLE_LINE = re.compile(r"(?im)^(\s*#?\s*(?:system|user|assistant|function|tool)\s*):(?=\s*(?:\n|\Z))")
# It also cuts a message at this pair of lines and drops what comes before, instructions included.
_NAME_LINE = re.compile(r"(name\s*):(?=[^\S\n]*\n\s*\S+\s*(?:#{1,2}\s*)?content\s*:)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def sanitize(text: str) -> str:
    """Defuse role lines, chat-template markers and RAFT tags in untrusted text.

    A tag gets a space after its first character, a role line a full-width colon: a person can still read
    it, but no parser recognises it. Control characters are dropped, line endings become \\n. Sanitized
    text is returned unchanged.
    """
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return RESERVED.sub(lambda match: match.group(0) + " ", defuse_roles(text))


def sanitize_line(text: str) -> str:
    """Sanitize text and join it into one line, for titles, names and reasons."""
    return " ".join(sanitize(text).split())


def defuse_roles(text: str) -> str:
    """Replace the colon of role lines with a full-width one, so that text stays within its message."""
    text = _ROLE_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
    return _NAME_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
