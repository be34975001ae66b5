"""Measure the rows to train on, and refuse those that are longer than the model takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..dataset.count_tokens import PER_MESSAGE, count_by_document, load_counter
from ..dataset.validate_chats import row_sequences
from ..errors import UserError
from ..files import read_jsonl

_MOST_NAMED = 5  # rows, in one line


class Row(NamedTuple):
    """The place and the length of a row."""

    path: Path
    line: int
    tokens: int


@dataclass(frozen=True)
class Lengths:
    """The lengths of the rows to train on, compared with what a model takes."""

    model: str
    context: int | None  # tokens of the longest row that the model takes; None if unknown
    exact: bool  # tokens are the model's own, not an estimate
    rows: int
    longest: Row | None
    long: tuple[Row, ...]  # those longer than the context, in order

    def describe(self) -> str:
        """Return a line with the longest row and the limit."""
        if self.longest is None:
            return "no rows"
        limit = f"{self.context:,}" if self.context else "an unknown number: lengths are not checked"
        tokens = self.describe_tokens(self.longest)
        return f"Longest row: {tokens}, {name_row(self.longest)}; {self.model} takes {limit}"

    def describe_long(self) -> str:
        """Return how many rows are too long, and the places and lengths of the first of them."""
        named = [f"{name_row(row)} has {self.describe_tokens(row)}" for row in self.long[:_MOST_NAMED]]
        if len(self.long) > _MOST_NAMED:
            named.append(f"and {len(self.long) - _MOST_NAMED:,} more")
        return (
            f"{len(self.long):,} of {self.rows:,} rows "
            f"{'is' if len(self.long) == 1 else 'are'} longer than the {self.context:,} tokens that "
            f"{self.model} takes: {', '.join(named)}"
        )

    def describe_tokens(self, row: Row) -> str:
        """Return the length of a row, and whether it is an estimate."""
        return f"{'' if self.exact else 'about '}{row.tokens:,} tokens"


def name_row(row: Row) -> str:
    """Return the place of a row."""
    return f"{row.path}, line {row.line}"


def compare_lengths(rows: Iterable[Row], *, model: str, context: int | None, exact: bool) -> Lengths:
    """Compare the lengths of rows with the context of a model."""
    count, longest, long = 0, None, []
    for row in rows:
        count += 1
        if longest is None or row.tokens > longest.tokens:
            longest = row
        if context is not None and row.tokens > context:
            long.append(row)
    return Lengths(model, context, exact, count, longest, tuple(long))


def refuse_long(lengths: Lengths) -> None:
    """Raise UserError if any row is too long, with the number of them and the place of the first."""
    if lengths.long:
        raise UserError(
            f"{lengths.describe_long()}; leave them out with --skip-long, or run generate again with a "
            "smaller --chunk-size or fewer --distractors"
        )


def estimate_lengths(paths: Iterable[Path], *, model: str, context: int | None) -> Lengths:
    """Measure the rows of the files that a hosted job is sent, by an estimate of their tokens."""
    count = count_by_document(load_counter())

    def rows() -> Iterator[Row]:
        for path in filter(Path.is_file, paths):
            for line, row in read_jsonl(path):
                sequences = row_sequences(row)
                yield Row(
                    path, line, max(sum(count(text) + PER_MESSAGE for text in texts) for texts in sequences)
                )

    return compare_lengths(rows(), model=model, context=context, exact=False)
