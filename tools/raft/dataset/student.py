"""Open a student, the model to be tuned: the longest row it takes, and its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..models.gguf_header import context_length
from ..models.gguf_reading import reading_once
from ..models.pricing import Price, context_of, load_prices
from ..models.weights import find_base, pretrained_source
from ..prompts import Message
from .count_tokens import PER_MESSAGE, load_counter

# The names of the longest sequence in the config.json of a transformers model.
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "seq_length", "max_sequence_length")


@dataclass(frozen=True)
class Student:
    """A model to be tuned."""

    name: str
    context: int | None  # tokens of the longest row it takes; None if unknown
    base: Path | None = None  # its weights on this machine; None for a hosted model

    @property
    def exact(self) -> bool:
        """Return whether tokens are counted with the student's own tokenizer, not estimated."""
        return self.tokenizer is not None

    @cached_property
    def tokenizer(self) -> Any:
        """Load its tokenizer on first use; None for a hosted model, or without transformers."""
        if self.base is None:
            return None
        try:
            from transformers import AutoTokenizer
        except ImportError:
            return None
        try:
            with reading_once():
                return AutoTokenizer.from_pretrained(**pretrained_source(self.base))
        except (OSError, ValueError) as error:
            raise UserError(f"{self.base} cannot be loaded: {one_line(error)}") from None

    def count(self, text: str) -> int:
        """Count the tokens of a text."""
        if self.tokenizer is None:
            return load_counter()(text)
        return len(self.tokenizer(text, add_special_tokens=False).input_ids)

    def count_chat(self, messages: Iterable[Message]) -> int:
        """Count the tokens of a chat, with what the model's template adds to it."""
        messages = list(messages)
        if self.tokenizer is None or not self.tokenizer.chat_template:
            return sum(self.count(message["content"]) + PER_MESSAGE for message in messages)
        return self.count(str(self.tokenizer.apply_chat_template(messages, tokenize=False)))


def open_student(model: str, prices: Mapping[str, Price] | None = None) -> Student:
    """Open a student by what `finetune --model` takes, whatever the backend.

    model: `embedded` (or empty), a GGUF file, the folder of a transformers model or of an earlier finetune,
    or the name of a hosted model. prices: a table with the contexts of hosted models, by default the
    project's. Raises UserError if it is none of these.
    """
    if model in ("", "embedded") or Path(model).exists():
        base = find_base(model)
        return Student(model or "embedded", _context_of_weights(base), base)
    # Azure's names for its models: REGISTRY/NAME:VERSION, azureml://…/models/NAME/versions/VERSION.
    name = model.split("/versions/")[0].rpartition("/")[2]
    name = name if model.startswith("ft:") else name.partition(":")[0]
    context = context_of(name, load_prices() if prices is None else prices)
    if context is None:
        raise UserError(
            f"--for {model}: no such file or folder, and no context of a model of this name is known: "
            'add it to a table for --prices, as {"models": {"' + name + '": {"context": TOKENS}}}'
        )
    return Student(name, context)


def _context_of_weights(base: Path) -> int | None:
    """Return the context of a GGUF file or a transformers model; None if it does not state one."""
    if base.suffix == ".gguf":
        return context_length(base)
    try:
        config = dict(json.loads((base / "config.json").read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, TypeError):
        raise UserError(f"{base} is not a model folder: its config.json cannot be read") from None
    config |= config.get("text_config") or {}  # of a model that reads more than text
    found = (config[name] for name in _CONTEXT_NAMES if isinstance(config.get(name), int))
    return next(found, None)
