"""Cut a text to some of its sentences, with a mark for each gap, and recognise such an excerpt."""

from __future__ import annotations

from collections.abc import Sequence

GAP = "…"  # in place of sentences that are left out

Span = tuple[int, int, str]  # start and end in the text, and the sentence with its white space folded


def join_sentences(text: str, spans: Sequence[Span], positions: Sequence[int]) -> str:
    """Return the sentences at these positions of a text, verbatim, with "…" for each gap."""
    parts: list[str] = []
    after = -1  # position of the sentence before
    for position in positions:
        start, end, _ = spans[position]
        if position != after + 1:
            parts.append(f" {GAP} " if parts else f"{GAP} ")
        elif parts:  # what separates neighbours, a space or a line break
            parts.append(text[spans[after][1] : start])
        parts.append(text[start:end])
        after = position
    if not parts:
        return GAP
    return "".join(parts) + ("" if after == len(spans) - 1 else f" {GAP}")


def is_excerpt(excerpt: str, text: str) -> bool:
    """Return whether an excerpt consists of pieces of a text, in their order, and marks of gaps."""
    if excerpt == text:
        return True
    end = 0
    # The text may have the mark, too: a piece that holds it is looked for in two parts, which is as good.
    for piece in excerpt.split(GAP):
        start = text.find(piece.strip(), end)
        if start < 0:
            return False
        end = start + len(piece.strip())
    return True
