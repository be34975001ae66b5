"""Rewrite constructs of Word that pandoc does not know as those that it does."""

from __future__ import annotations

from typing import Any

from ..ooxml import child, make, number, remove, tag, text_of, value

TEXTS = tuple(map(tag, ("w:t", "w:delText", "m:t")))


def join_paragraphs(root: Any) -> None:
    """Join a paragraph whose end was deleted with the next one, whose properties then hold for both."""
    for paragraph in list(root.iter(tag("w:p"))):
        mark = child(paragraph, "w:pPr", "w:rPr")
        following = paragraph.getnext()
        if following is None or following.tag != tag("w:p"):
            continue
        if child(mark, "w:del") is not None or child(mark, "w:moveFrom") is not None:
            place = 0 if child(following, "w:pPr") is None else 1
            following[place:place] = [part for part in paragraph if part.tag != tag("w:pPr")]
            remove(paragraph)


def write_readings(root: Any) -> None:
    """Write the readings of characters in brackets after the word: 東京(とうきょう)."""
    for ruby in list(root.iter(tag("w:ruby"))):
        word, reading = (
            "".join(text_of(part, tag("w:t")) for part in ruby.findall(tag(name)))
            for name in ("w:rubyBase", "w:rt")
        )
        written = make("t")
        written.text = f"{word}({reading})" if reading else word
        if ruby.getparent() is not None:
            ruby.getparent().replace(ruby, written)


def complete_tables(root: Any) -> None:
    """Write skipped cells as empty ones, and merged cells of the older kind as those of the newer."""
    for row in root.iter(tag("w:tr")):
        for name, add in (("w:gridBefore", _prepend), ("w:gridAfter", type(row).append)):
            for _ in range(min(number(value(row, "w:trPr", name), 0), _MAX_SKIPPED)):
                add(row, make("tc", make("p")))
        last = None
        for cell in row.findall(tag("w:tc")):
            merged = child(cell, "w:tcPr", "w:hMerge")
            if merged is None or merged.get(tag("w:val")) == "restart" or last is None:
                last = cell
                continue
            if (properties := child(last, "w:tcPr")) is None:
                last.insert(0, properties := make("tcPr"))
            span = child(properties, "w:gridSpan")
            if span is None:
                properties.append(span := make("gridSpan", val="1"))
            span.set(tag("w:val"), str(number(span.get(tag("w:val")), 1) + 1))
            for block in [block for block in cell if block.tag != tag("w:tcPr")]:
                if any((text.text or "").strip() for text in block.iter(*TEXTS)):
                    last.append(block)
            remove(cell)


_MAX_SKIPPED = 63  # columns of a table in Word


def _prepend(row: Any, cell: Any) -> None:
    place = 0 if (first := row.find(tag("w:tc"))) is None else row.index(first)
    row.insert(place, cell)
