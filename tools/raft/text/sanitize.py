"""Make untrusted text harmless before it enters a prompt or a dataset."""

from __future__ import annotations

import re

from ..raft_format import RESERVED

# promptflow splits a rendered prompt into chat messages at such lines.
_ROLE_LINE = re.compile(r"(?im)^(\s*#?\s*(?:system|user|assistant|function|tool)\s*):(?=\s*(?:\n|\Z))")
# ... and cuts a message at such a pair of lines: what stands before it would be lost, instructions included.
_NAME_LINE = re.compile(r"(name\s*):(?=[^\S\n]*\n\s*\S+\s*(?:#{1,2}\s*)?content\s*:)")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


def sanitize(text: str) -> str:
    """Defuse role lines, chat-template markers and RAFT tags in untrusted text.

    A tag gets a blank after its first character, a role line a full-width colon: a person still reads
    what was there, and no parser does. Control characters are dropped, line ends become \\n. Sanitized
    text comes back unchanged.
    """
    text = _CONTROL.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return RESERVED.sub(lambda match: match.group(0) + " ", defuse_roles(text))


def sanitize_line(text: str) -> str:
    """Sanitize text and put it on one line, for titles, names and reasons."""
    return " ".join(sanitize(text).split())


def defuse_roles(text: str) -> str:
    """Keep text in the one message it is part of: role lines get a full-width colon."""
    text = _ROLE_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
    return _NAME_LINE.sub("\\1\N{FULLWIDTH COLON}", text)
