"""Count the tokens of rows with the default tokenizer."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from ..models.weights import default_tokenizer
from ..on_disk import DiskMap

PER_MESSAGE = 4  # tokens that a chat template adds to a message, roughly
_DOCUMENT = re.compile(r"(?<=</DOCUMENT>\n)")


@lru_cache(maxsize=1)
def load_counter() -> Callable[[str], int]:
    """Load the tokenizer of the default embedding model and return a function that counts tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(default_tokenizer()))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def count_by_document(count: Callable[[str], int]) -> Callable[[str], int]:
    """Return a counter that counts each document once, since a chunk appears in about twenty rows."""
    counts = DiskMap()
    return lambda text: sum(counts.compute(piece, count) for piece in _DOCUMENT.split(text))
