"""Split documents into chunks at headings, paragraphs and sentences, within a number of tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..choices import Chunking
from ..errors import UserError
from ..models.weights import default_tokenizer
from ..records import Chunk, Document, content_id
from ..text.sanitize import sanitize
from .split_api import cut_entry, head_end
from .split_units import HEADING, ITEM, MUST, NEVER, Unit, cut_units

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ..models.embed import Embedder
else:
    Tokenizer = Any


# A tokenizer may count an unknown word (base64, Thai) as one token, however long. So a chunk is
# bounded in characters too; text in a language the tokenizer knows stays far below this bound.
_CHARS_PER_TOKEN = 8
# An entry is one thing: what a call is for, and how it is used. Only a very long one is cut.
_WHOLE_ENTRY = 2  # times the chunk size


@lru_cache(maxsize=4)
def load_tokenizer(location: str | Path | None = None) -> Tokenizer:
    """Load a tokenizer from a tokenizer.json or a folder with one; by default, the embedding model's.

    Raises UserError if there is none.
    """
    from tokenizers import Tokenizer as TokenizerClass

    path = Path(location).expanduser() if location else default_tokenizer()
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise UserError(f"{path}: no tokenizer; pass a tokenizer.json or its folder")
    try:
        tokenizer = TokenizerClass.from_file(str(path))
    except Exception:  # the library raises nothing narrower
        raise UserError(f"{path}: not a valid tokenizer.json") from None
    # Some files enable both: every text would then count as, for example, 128 tokens.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def split_document(
    document: Document,
    *,
    chunk_size: int = 512,
    tokenizer: Tokenizer | str | Path | None = None,
    mode: Chunking = "text",
    embedder: Embedder | None = None,
) -> list[Chunk]:
    """Split a document into chunks of at most `chunk_size` tokens, special tokens not counted.

    A chunk ends at the strongest boundary: before a heading rather than a paragraph, before a
    paragraph rather than a sentence; never between a heading and the text below it. In mode
    "semantic" it ends where the topic changes. An API entry stays whole up to twice the size.
    A chunk's text is document["text"][start:end], except that a chunk which begins within a table
    repeats its head row first, one within an API entry the lines up to its call, and that a line which
    looks like a chat role only because of the cut is defused. Raises UserError for an invalid size or mode.
    """
    if chunk_size < 16:
        raise UserError(f"chunk size {chunk_size} is too small; use 16 tokens or more")
    if mode not in ("text", "semantic"):
        raise UserError(f"unknown chunking mode: {mode}; use text or semantic")
    if tokenizer is None or isinstance(tokenizer, str | Path):
        tokenizer = load_tokenizer(tokenizer)
    text = document["text"]
    if document["kind"] == "api":
        spans = _split_entry(text, chunk_size, tokenizer)
    else:
        units = list(cut_units(text))
        if mode == "semantic":
            from .split_semantic import cut_by_meaning

            cut_by_meaning(text, units, embedder)
        spans = _pack(text, units, chunk_size, tokenizer)
    return [_chunk(document, span) for span in spans]


class _Span(NamedTuple):
    """Where a chunk stands in its document, its tokens, and the table head that it repeats."""

    start: int
    end: int
    tokens: int
    head: tuple[int, int] | None = None

    def text(self, document: str) -> str:
        text = document[self.start : self.end]
        return f"{document[slice(*self.head)]}\n{text}" if self.head else text


def _split_entry(text: str, size: int, tokenizer: Tokenizer) -> list[_Span]:
    """Split an API entry of more than twice the size, unless its call would not fit into every part."""
    whole = _Span(0, len(text), _count([text], tokenizer)[0])
    if whole.tokens <= _WHOLE_ENTRY * size:
        return [whole]
    end = head_end(text)
    (above,) = _count([text[:end] + "\n"], tokenizer)
    if above > size // 2:
        return [whole]
    first, *others = _pack(text, list(cut_entry(text, end)), size - above, tokenizer)
    spans = [first._replace(start=0), *(span._replace(head=(0, end)) for span in others)]
    counts = _count([span.text(text) for span in spans], tokenizer)
    return [span._replace(tokens=tokens) for span, tokens in zip(spans, counts, strict=True)]


def _pack(text: str, units: list[Unit], size: int, tokenizer: Tokenizer) -> list[_Span]:
    """Pack units into chunks."""
    _measure(text, units, tokenizer)
    # Separators between units may cost tokens too: line ends do, except in WordPiece tokenizers.
    single, pair = _count(["a", "a\n\na"], tokenizer)
    separator = max(0, pair - 2 * single)
    _measure_heads(text, units, size, separator, tokenizer)
    units = list(_cut_to_fit(text, units, size, separator, tokenizer))
    ranges = []
    first = 0
    remaining = sum(unit.tokens + separator for unit in units)
    while first < len(units):
        last = _next_cut(units, first, size, separator, remaining)
        remaining -= sum(unit.tokens + separator for unit in units[first:last])
        ranges.append((first, last))
        first = last
    return list(_enforce_size(text, units, ranges, size, tokenizer))


def _next_cut(units: list[Unit], first: int, size: int, separator: int, remaining: int) -> int:
    """Choose the end of the chunk that begins at `first`; `remaining` counts the tokens from there on."""
    filled, last = units[first].head_tokens + units[first].tokens, first + 1
    sums = [filled]  # tokens of the chunk, for each possible end
    while last < len(units) and filled + separator + units[last].tokens <= size and units[last].cut < MUST:
        filled += separator + units[last].tokens
        sums.append(filled)
        last += 1
    if last == len(units) or units[last].cut == MUST:
        return last
    best, strongest = 0, NEVER
    for end, tokens in enumerate(sums, start=first + 1):
        cut = units[end].cut
        long_enough = tokens * (4 if cut >= HEADING else 2) >= filled
        short_tail = remaining - tokens < size // 4  # too little would be left for another chunk
        if cut > NEVER and cut >= strongest and long_enough and not (short_tail and best):
            best, strongest = end, cut  # the later of two equal cuts
    return best or last


def _enforce_size(
    text: str, units: list[Unit], ranges: list[tuple[int, int]], size: int, tokenizer: Tokenizer
) -> Iterator[_Span]:
    """Count exactly, since the sums are estimates with most tokenizers, and halve chunks over the size."""
    spans = [_Span(units[first].start, units[last - 1].end, 0, units[first].head) for first, last in ranges]
    counts = _count([span.text(text) for span in spans], tokenizer)
    for (first, last), span, tokens in zip(ranges, spans, counts, strict=True):
        if tokens <= size or (last - first == 1 and not span.head):
            yield span._replace(tokens=tokens)
        elif last - first == 1:
            units[first].head = None
            yield from _enforce_size(text, units, [(first, last)], size, tokenizer)
        else:
            middle = max(
                range(first + 1, last), key=lambda index: (units[index].cut, -abs(2 * index - first - last))
            )
            yield from _enforce_size(text, units, [(first, middle), (middle, last)], size, tokenizer)


def _cut_to_fit(
    text: str, units: list[Unit], size: int, separator: int, tokenizer: Tokenizer
) -> Iterator[Unit]:
    """Cut the units that are too long for a chunk, or for the space left by the headings above them."""
    above = 0
    for unit in units:
        above = above + separator if unit.cut == NEVER else 0
        # Headings that fill more than half of a chunk are ignored.
        room = size - above if above <= size // 2 else size
        # Rounded down to a multiple of 8, so that few different splitters are built.
        pieces = _cut_unit(text, unit, room if unit.tokens <= room else room - room % 8, tokenizer)
        yield from pieces
        above = above + unit.tokens if len(pieces) == 1 else size


def _cut_unit(text: str, unit: Unit, size: int, tokenizer: Tokenizer) -> list[Unit]:
    """Cut a unit of more than `size` tokens at lines or words, or anywhere if there are none."""
    if unit.tokens <= size:
        return [unit]
    by_chars, by_tokens = _cutters(tokenizer, size)
    pieces: list[Unit] = []
    # Tokens last: a piece of an unknown word, cut by characters, may have more tokens than the whole.
    for outer, part in by_chars.chunk_indices(text[unit.start : unit.end]):
        for inner, piece in by_tokens.chunk_indices(part):
            start = unit.start + outer + inner
            pieces.append(Unit(start, start + len(piece), ITEM if pieces else unit.cut))
    _measure(text, pieces, tokenizer)
    return pieces


@lru_cache(maxsize=32)
def _cutters(tokenizer: Tokenizer, size: int) -> tuple[Any, Any]:
    from semantic_text_splitter import TextSplitter

    by_tokens = TextSplitter.from_huggingface_tokenizer(tokenizer, size)
    return TextSplitter(size * _CHARS_PER_TOKEN), by_tokens


def _measure(text: str, units: list[Unit], tokenizer: Tokenizer) -> None:
    counts = _count([text[unit.start : unit.end] for unit in units], tokenizer)
    for unit, tokens in zip(units, counts, strict=True):
        unit.tokens = max(tokens, (unit.end - unit.start) // _CHARS_PER_TOKEN)


def _measure_heads(text: str, units: list[Unit], size: int, separator: int, tokenizer: Tokenizer) -> None:
    """Measure the table heads to repeat, except those that say nothing or leave too little room for rows."""
    heads = {unit.head: Unit(*unit.head, ITEM) for unit in units if unit.head}
    _measure(text, list(heads.values()), tokenizer)
    for unit in units:
        if unit.head:
            unit.head_tokens = heads[unit.head].tokens + separator
            says_nothing = not any(map(str.isalnum, text[slice(*unit.head)]))
            if says_nothing or unit.head_tokens > size // 2 or unit.head_tokens + unit.tokens > size:
                unit.head, unit.head_tokens = None, 0


def _count(texts: list[str], tokenizer: Tokenizer) -> list[int]:
    """Count the tokens of each text, special tokens left out."""
    counts: list[int] = []
    for start in range(0, len(texts), 512):  # an encoding takes far more memory than its text
        batch = tokenizer.encode_batch_fast(texts[start : start + 512], add_special_tokens=False)
        counts += map(len, batch)
    return counts


def _chunk(document: Document, span: _Span) -> Chunk:
    text = _sanitize_edges(span.text(document["text"]))
    return {
        "id": content_id(document["source"], text),
        "text": text,
        "source": document["source"],
        "title": document["title"],
        "page": bisect_right(document["page_starts"], span.start) or None,
        "start": span.start,
        "end": span.end,
        "tokens": span.tokens,
        "kind": document["kind"],
    }


def _sanitize_edges(text: str) -> str:
    """Defuse a first or last line that the cut has made a role line: "It said. system:" cut in two."""
    lines = text.split("\n")
    for index in {0, len(lines) - 1}:
        sanitized = sanitize(lines[index])
        if len(sanitized) == len(lines[index]):
            lines[index] = sanitized
    return "\n".join(lines)
