"""Split documents into chunks at headings, paragraphs and sentences, none over so many tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError
from ..models.embed import INSTALL, default_folder
from ..records import Chunk, Document, content_id
from ..text.sanitize import sanitize
from .split_units import HEADING, ITEM, MUST, NEVER, Unit, cut_units

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ..models.embed import Embedder
else:
    Tokenizer = Any

Chunking = Literal["text", "semantic"]  # cut at headings and sentences, or where the meaning changes

# A tokenizer counts what it does not know as one token, however long: unbroken base64, Thai. So a
# chunk is bounded in characters too; text in a known language stays far below this.
_CHARS_PER_TOKEN = 8


@lru_cache(maxsize=4)
def load_tokenizer(where: str | Path | None = None) -> Tokenizer:
    """Load a tokenizer from a tokenizer.json or a folder with one; without a path, the embedding model's.

    Raises UserError where there is none.
    """
    from tokenizers import Tokenizer as Loaded

    path = Path(where).expanduser() if where else default_folder()
    if path.is_dir():
        path = path / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"{path}: no tokenizer; give a tokenizer.json, a folder with one, or nothing after {INSTALL}"
        )
    try:
        tokenizer = Loaded.from_file(str(path))
    except Exception:  # the library raises nothing narrower
        raise UserError(f"{path}: not a tokenizer.json that can be loaded") from None
    # Some files ask for both, and would then count no text as longer than 128 tokens, or as shorter.
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

    A chunk is cut where its text asks for it most: before a heading rather than a paragraph, a
    paragraph rather than a sentence; never between a heading and what it heads. In mode "semantic"
    it is cut where the meaning changes. An API entry stays whole, whatever its length.
    Every chunk's text is document["text"][start:end], but that a line which only the cut made look
    like a chat role is defused. Raises UserError for a wrong size or mode.
    """
    if chunk_size < 16:
        raise UserError(f"chunk size {chunk_size} is too small; give 16 tokens or more")
    if mode not in ("text", "semantic"):
        raise UserError(f"unknown way to split: {mode}; give text or semantic")
    if tokenizer is None or isinstance(tokenizer, str | Path):
        tokenizer = load_tokenizer(tokenizer)
    text = document["text"]
    if document["kind"] == "api":
        spans = [(0, len(text), _count([text], tokenizer)[0])]
    else:
        units = list(cut_units(text))
        if mode == "semantic":
            from .split_semantic import cut_by_meaning

            cut_by_meaning(text, units, embedder)
        spans = _pack(text, units, chunk_size, tokenizer)
    return [_chunk(document, *span) for span in spans]


def _pack(text: str, units: list[Unit], size: int, tokenizer: Tokenizer) -> list[tuple[int, int, int]]:
    """Fill chunks with units; give the start, end and tokens of each."""
    _measure(text, units, tokenizer)
    # What stands between two units may count as well: line ends do, in most but WordPiece tokenizers.
    one, two = _count(["a", "a\n\na"], tokenizer)
    joint = max(0, two - 2 * one)
    units = list(_all_fitting(text, units, size, joint, tokenizer))
    ranges = []
    first = 0
    left = sum(unit.tokens + joint for unit in units)
    while first < len(units):
        last = _next_cut(units, first, size, joint, left)
        left -= sum(unit.tokens + joint for unit in units[first:last])
        ranges.append((first, last))
        first = last
    return list(_settle(text, units, ranges, size, tokenizer))


def _next_cut(units: list[Unit], first: int, size: int, joint: int, left: int) -> int:
    """Choose where to end the chunk that begins at `first`; `left` is the tokens from there to the end."""
    filled, last = units[first].tokens, first + 1
    sums = [filled]  # tokens up to each place
    while last < len(units) and filled + joint + units[last].tokens <= size and units[last].cut < MUST:
        filled += joint + units[last].tokens
        sums.append(filled)
        last += 1
    if last == len(units) or units[last].cut == MUST:
        return last
    best, strongest = 0, NEVER
    for place, tokens in enumerate(sums, start=first + 1):
        cut = units[place].cut
        long_enough = tokens * (4 if cut >= HEADING else 2) >= filled
        tail = left - tokens < size // 4  # a chunk of its own would be too little
        if cut > NEVER and cut >= strongest and long_enough and not (tail and best):
            best, strongest = place, cut  # the later one of two equals
    return best or last


def _settle(
    text: str, units: list[Unit], ranges: list[tuple[int, int]], size: int, tokenizer: Tokenizer
) -> Iterator[tuple[int, int, int]]:
    """Count exactly, since sums are estimates in most tokenizers, and halve what is over the size."""
    spans = [(units[first].start, units[last - 1].end) for first, last in ranges]
    counts = _count([text[start:end] for start, end in spans], tokenizer)
    for (first, last), (start, end), tokens in zip(ranges, spans, counts, strict=True):
        if tokens <= size or last - first == 1:
            yield start, end, tokens
        else:
            middle = max(
                range(first + 1, last), key=lambda place: (units[place].cut, -abs(2 * place - first - last))
            )
            yield from _settle(text, units, [(first, middle), (middle, last)], size, tokenizer)


def _all_fitting(text: str, units: list[Unit], size: int, joint: int, tokenizer: Tokenizer) -> Iterator[Unit]:
    """Cut the units that are too long for a chunk, or for the room that the headings above them leave."""
    above = 0
    for unit in units:
        above = above + joint if unit.cut == NEVER else 0
        # In eighths, so that few sizes occur; headings that fill more than half are left alone.
        room = size - above if above <= size // 2 else size
        pieces = _fitting(text, unit, room if unit.tokens <= room else room - room % 8, tokenizer)
        yield from pieces
        above = above + unit.tokens if len(pieces) == 1 else size


def _fitting(text: str, unit: Unit, size: int, tokenizer: Tokenizer) -> list[Unit]:
    """Cut a unit that is too long by itself, at lines or words, or wherever it must be."""
    if unit.tokens <= size:
        return [unit]
    by_chars, by_tokens = _cutters(tokenizer, size)
    pieces: list[Unit] = []
    # Characters first: the other way, a piece of an unknown word may count more than the whole.
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


def _count(texts: list[str], tokenizer: Tokenizer) -> list[int]:
    """Count the tokens of each text, special tokens left out."""
    counts: list[int] = []
    for start in range(0, len(texts), 512):  # an encoding takes far more memory than its text
        batch = tokenizer.encode_batch_fast(texts[start : start + 512], add_special_tokens=False)
        counts += map(len, batch)
    return counts


def _chunk(document: Document, start: int, end: int, tokens: int) -> Chunk:
    text = _safe_edges(document["text"][start:end])
    return {
        "id": content_id(document["source"], text),
        "text": text,
        "source": document["source"],
        "title": document["title"],
        "page": bisect_right(document["page_starts"], start) or None,
        "start": start,
        "end": end,
        "tokens": tokens,
        "kind": document["kind"],
    }


def _safe_edges(text: str) -> str:
    """Defuse a first or last line that has become a role line by the cut: "It said. system:" cut in two."""
    lines = text.split("\n")
    for index in {0, len(lines) - 1}:
        safe = sanitize(lines[index])
        if len(safe) == len(lines[index]):
            lines[index] = safe
    return "\n".join(lines)
