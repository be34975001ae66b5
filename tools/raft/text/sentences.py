"""Split text into sentences, in any script."""

from __future__ import annotations

import re
from collections.abc import Iterator

# A sentence ends at a terminal mark with its closing quotes, before white space; full-width marks need none.
_END = re.compile(r"(?:[.!?…؟۔।॥]+[\"'”’»)\]]*(?=\s)|[。！？｡]+[」』”’）]*)")
# A full stop after one of these does not end a sentence; only the common ones of each language.
_ABBREVIATION = re.compile(
    r"\b(?:[A-ZÀ-Þ]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Hon|Rev|Gov|Gen|Col|Lt|Capt|vs|v|etc|cf|c|ca|fl|lit|approx"
    r"|No|Nr|Op|Fig|Abb|Vol|vol|p|pp|ed|eds|al"
    r"|bzw|usw|vgl|z\.B|d\.h|u\.a|e\.g|i\.e|a\.m|p\.m|Mme|art|núm|Sra)\.$"
)
_OPEN_BRACKET = re.compile(r"\([^()]{0,100}\.$")  # "(died A.D. 1052)" is part of a sentence
_MONTH = re.compile(r"(?:Jan|Feb|März|Apr|Mai|Jun|Jul|Aug|Sep|Okt|Nov|Dez)")  # German ordinals: "3. Mai"


def split_sentences(text: str) -> list[str]:
    """Split text into sentences, each a verbatim, trimmed piece of it, in order.

    A blank line or a Markdown heading always ends a sentence; a single line break does not.
    Only white space is lost.
    """
    sentences = []
    for block in re.split(r"\n\s*\n|\n(?=\s*#{1,6}\s)|(?<=\n)(?=\s*[-*•|]\s)", text):
        heading, _, rest = block.partition("\n") if re.match(r"\s*#{1,6}\s", block) else ("", "", block)
        sentences.append(heading)
        start = 0
        for match in _END.finditer(rest):
            piece = rest[start : match.end()]
            following = rest[match.end() : match.end() + 8].lstrip()
            # "approx. 5" and "No. 7 bus" continue, as does anything before a lower-case letter.
            if match.group().startswith(".") and (
                _ABBREVIATION.search(piece)
                or (_OPEN_BRACKET.search(piece[-102:]) and ")" in rest[match.end() : match.end() + 100])
                or following[:1].islower()
                or (piece[-2:-1].isdigit() and _MONTH.match(following))
            ):
                continue
            sentences.append(piece)
            start = match.end()
        sentences.append(rest[start:])
    return [sentence.strip() for sentence in sentences if sentence.strip()]


def sentence_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield the start, the end and the text of each sentence, its white space folded."""
    end = 0
    for sentence in split_sentences(text):
        start = text.index(sentence, end)
        end = start + len(sentence)
        yield start, end, " ".join(sentence.split())
