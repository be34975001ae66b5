"""Let transformers read a GGUF file once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache


@contextmanager
def reading_once() -> Iterator[None]:
    """Share what the `gguf` package reads while the block runs.

    transformers has a file parsed for its tokenizer, its configuration and its weights, at three seconds each
    for the vocabulary of the embedded model, and the table of tensor names built for each of its modules.
    """
    import gguf

    originals = gguf.GGUFReader, gguf.get_tensor_name_map
    gguf.GGUFReader, gguf.get_tensor_name_map = (lru_cache(original) for original in originals)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = originals  # type: ignore[misc]
