"""Find quotes in the document they claim to come from."""

from __future__ import annotations

import re

from ..raft_format import BEGIN_QUOTE, END_QUOTE, QUOTE, Answer, FormatError
from .normalise import fold


def anchor_quotes(answer: Answer, document: str) -> Answer | FormatError:
    """Replace each quote by the document's own characters, or return why it is not verbatim.

    Unicode forms, quotation marks, dashes and white space may differ; words and case may not.
    """
    if not answer.quotes:
        return FormatError.NO_QUOTE
    anchored = []
    for quote in answer.quotes:
        found = find_quote(quote, document)
        if not found:
            return FormatError.NOT_VERBATIM if quote else FormatError.EMPTY_QUOTE
        anchored.append(found)
    replacements = iter(anchored)
    reasoning = QUOTE.sub(lambda _: f"{BEGIN_QUOTE}{next(replacements)}{END_QUOTE}", answer.reasoning)
    return Answer(reasoning, tuple(anchored), answer.final)


def find_quote(quote: str, document: str) -> str:
    """Return the piece of the document that a quote matches, or an empty string.

    Unicode forms, quotation marks, dashes and white space may differ; words and case may not.
    """
    return _find(quote, document) or _find(quote.strip("\"'“”‘’«»„「」"), document)


def _find(quote: str, document: str) -> str:
    if not quote:
        return ""
    if quote in document:
        return quote
    wanted = fold(quote)
    folded, origin = _fold_with_origins(document)
    at = folded.find(wanted) if wanted else -1
    return document[origin[at] : origin[at + len(wanted) - 1] + 1].strip() if at >= 0 else ""


def _fold_with_origins(document: str) -> tuple[str, list[int]]:
    """Fold a text and return, for each character of the result, the offset it came from."""
    folded: list[str] = []
    origins: list[int] = []
    # A letter and its combining marks fold together, anything else by itself.
    for match in re.finditer(r"(?:\w[\u0300-\u036f\u3099\u309a]+)|.", document, re.DOTALL):
        piece = fold(match.group())
        if not piece and match.group().isspace():
            piece = " " if folded and folded[-1] != " " else ""
        folded.extend(piece)
        # The last character of the piece points at its last character, so that a slice is whole.
        origins.extend([match.start()] * (len(piece) - 1) + [match.end() - 1] if piece else [])
    return "".join(folded), origins
