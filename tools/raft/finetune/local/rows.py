"""Read the rows of a dataset, tokenise them, and pack them for training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import UserError
from ...files import read_jsonl
from ...records import DRILLS
from ..backend import FineTuneSpec
from .pack import PACK_TOKENS, Example, Pack, copied_spans, pack_examples, tokenise, tokenise_pair

CONTEXT = 2048  # maximum tokens per row: memory and time grow with its square
PARTS = ("train", DRILLS)  # the parts of the dataset that are trained on
COPY_WEIGHT = 0.3  # of a copied token in the loss


def make_packs(spec: FineTuneSpec, parts: Sequence[str], tokenizer: Any, max_examples: int) -> Iterator[Pack]:
    """Pack the rows of these parts of the dataset, those with a common prefix together.

    Raises UserError naming a row that is longer than the context.
    """
    examples = []
    for part in parts:
        for number, row in enumerate(read_rows(spec, part), start=1):
            example = to_example(row, tokenizer, drill=part == DRILLS)
            length = len(example.prompt) + len(example.reply)
            if length > CONTEXT:
                raise UserError(
                    f"{spec.file(part)}, line {number} has {length:,} tokens, more than {CONTEXT:,}: "
                    "run generate with a smaller --chunk-size or fewer --distractors"
                )
            examples.append(example)
    examples.sort(key=lambda example: example.prompt)
    return pack_examples(examples, max_tokens=PACK_TOKENS, max_examples=max_examples)


def to_example(row: dict[str, Any], tokenizer: Any, *, drill: bool = False) -> Example:
    """Tokenise a chat or a completion row; tokens that only copy a quote get the weight COPY_WEIGHT."""
    reply = row["messages"][-1]["content"] if "messages" in row else row["completion"]
    copied = copied_spans(reply)
    if "messages" in row:
        return tokenise(row["messages"], tokenizer, copied, COPY_WEIGHT, drill=drill)
    return tokenise_pair(row["prompt"], reply, tokenizer, copied, COPY_WEIGHT, drill=drill)


def read_rows(spec: FineTuneSpec, part: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of a part of the dataset; raises UserError if the train file is missing."""
    path = spec.file(part)
    if not path.exists():
        if part == "train":
            raise UserError(f"{path} is missing: run generate with --format {spec.api}")
        return
    problem = "not a row to train on; run generate again"
    for number, row in read_jsonl(path, want=problem):
        if "messages" not in row and not {"prompt", "completion"} <= row.keys():
            raise UserError(f"{path}, line {number}: {problem}")
        yield row
