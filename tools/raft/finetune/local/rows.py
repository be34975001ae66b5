"""Read the rows of a dataset, tokenise and measure them, and pack them for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...dataset.student import Student
from ...errors import UserError
from ...files import read_jsonl
from ...records import DRILLS
from ..backend import FineTuneSpec
from ..lengths import Lengths, Row, compare_lengths
from .pack import PACK_TOKENS, Example, Pack, copied_spans, pack_examples, tokenise, tokenise_pair

PARTS = ("train", DRILLS)  # the parts of the dataset that are trained on
COPY_WEIGHT = 0.3  # of a copied token in the loss


def measure_rows(spec: FineTuneSpec, student: Student) -> Lengths:
    """Measure the rows that a local training reads, in the student's tokens."""
    rows = (row for row, _ in read_examples(spec, (*PARTS, "valid"), student.tokenizer))
    return compare_lengths(rows, model=student.name, context=student.context, exact=True)


def make_packs(spec: FineTuneSpec, parts: Sequence[str], tokenizer: Any, max_examples: int) -> Iterator[Pack]:
    """Pack the rows of these parts of the dataset, those with a common prefix together."""
    examples = [example for _, example in read_examples(spec, parts, tokenizer)]
    examples.sort(key=lambda example: example.prompt)
    return pack_examples(examples, max_tokens=PACK_TOKENS, max_examples=max_examples)


def read_examples(spec: FineTuneSpec, parts: Sequence[str], tokenizer: Any) -> Iterator[tuple[Row, Example]]:
    """Tokenise the rows of these parts of the dataset; yield each with its place and its length."""
    for part in parts:
        for line, row in read_rows(spec, part):
            example = to_example(row, tokenizer, drill=part == DRILLS)
            yield Row(spec.file(part), line, len(example.prompt) + len(example.reply)), example


def to_example(row: dict[str, Any], tokenizer: Any, *, drill: bool = False) -> Example:
    """Tokenise a chat or a completion row; tokens that only copy a quote get the weight COPY_WEIGHT."""
    reply = row["messages"][-1]["content"] if "messages" in row else row["completion"]
    copied = copied_spans(reply)
    if "messages" in row:
        return tokenise(row["messages"], tokenizer, copied, COPY_WEIGHT, drill=drill)
    return tokenise_pair(row["prompt"], reply, tokenizer, copied, COPY_WEIGHT, drill=drill)


def read_rows(spec: FineTuneSpec, part: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a part with their lines; raises UserError if the train file is missing."""
    path = spec.file(part)
    if not path.exists():
        if part == "train":
            raise UserError(f"{path} is missing: run generate with --format {spec.api}")
        return
    problem = "not a row to train on; run generate again"
    for number, row in read_jsonl(path, want=problem):
        if "messages" not in row and not {"prompt", "completion"} <= row.keys():
            raise UserError(f"{path}, line {number}: {problem}")
        yield number, row
