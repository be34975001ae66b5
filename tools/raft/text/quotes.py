"""Find quotes in the documents that they cite."""

from __future__ import annotations

import re

from ..raft_format import BEGIN_QUOTE, END_QUOTE, QUOTE, Answer, FormatError
from .normalise import fold


def anchor_quotes(answer: Answer, document: str, *others: str) -> Answer | FormatError:
    """Replace each quote with the document's own characters, or return why one is not verbatim.

    Unicode forms, quotation marks, dashes and white space may differ; words and case may not. If there are
    several documents, each needs a quote that stands in none of the others.
    """
    if not answer.quotes:
        return FormatError.NO_QUOTE
    documents = (document, *others)
    anchored = []
    quoted: set[int] = set()  # the documents that have a quote of their own
    for quote in answer.quotes:
        places = {i: found for i, text in enumerate(documents) if (found := find_quote(quote, text))}
        if not places:
            return FormatError.NOT_VERBATIM if quote else FormatError.EMPTY_QUOTE
        anchored.append(next(iter(places.values())))
        if len(places) == 1:
            quoted.update(places)
    if others and len(quoted) < len(documents):
        return FormatError.UNQUOTED_ORACLE
    replacements = iter(anchored)
    reasoning = QUOTE.sub(lambda _: f"{BEGIN_QUOTE}{next(replacements)}{END_QUOTE}", answer.reasoning)
    return Answer(reasoning, tuple(anchored), answer.final)


def find_quote(quote: str, document: str) -> str:
    """Return the part of the document that a quote matches, or an empty string.

    Unicode forms, quotation marks, dashes and white space may differ; words and case may not.
    """
    return _find(quote, document) or _find(quote.strip("\"'“”‘’«»„「」"), document)


def _find(quote: str, document: str) -> str:
    if not quote:
        return ""
    if quote in document:
        return quote
    folded_quote = fold(quote)
    folded, offsets = fold_with_offsets(document)
    start = folded.find(folded_quote) if folded_quote else -1
    if start < 0:
        return ""
    return document[offsets[start] : offsets[start + len(folded_quote) - 1] + 1].strip()


def fold_with_offsets(document: str) -> tuple[str, list[int]]:
    """Fold a text; also return, for each character of the result, its offset in the document."""
    folded: list[str] = []
    offsets: list[int] = []
    # A letter folds together with its combining marks, any other character alone.
    for match in re.finditer(r"(?:\w[\u0300-\u036f\u3099\u309a]+)|.", document, re.DOTALL):
        piece = fold(match.group())
        if not piece and match.group().isspace():
            piece = " " if folded and folded[-1] != " " else ""
        folded.extend(piece)
        # The last folded character maps to the last original one, so that a slice ends after all its marks.
        offsets.extend([match.start()] * (len(piece) - 1) + [match.end() - 1] if piece else [])
    return "".join(folded), offsets
