"""Read the metadata at the start of a GGUF file.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The `gguf` package builds every entry of
the vocabulary before it returns the first value, which takes seconds.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UserError

# struct formats of the scalar types, by their number in the file.
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9


def context_length(path: Path) -> int | None:
    """Return the context of the model in a GGUF file, in tokens; None if the file does not state it."""
    context = _find_entry(path, ".context_length")
    return None if context is None else int(context)


def is_adapter(path: Path) -> bool:
    """Return whether a GGUF file holds an adapter, not a model."""
    return bool(_find_entry(path, "general.type") == "adapter")


def _find_entry(path: Path, ending: str) -> Any:
    """Return the first value whose name ends so, None if there is none.

    Raises UserError if the file is not GGUF, or damaged.
    """
    try:
        with path.open("rb") as file:
            magic, _, _, entries = struct.unpack("<4sIQQ", file.read(24))
            if magic != b"GGUF":
                raise ValueError
            for _ in range(entries):
                name, value = _read_string(file), _read_value(file, _read_scalar(file, "I"))
                if name.endswith(ending):
                    return value
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        raise UserError(f"{path} is not a GGUF model, or a damaged one") from None
    return None


def _read_scalar(file: BinaryIO, form: str) -> Any:
    form = f"<{form}"
    return struct.unpack(form, file.read(struct.calcsize(form)))[0]


def _read_string(file: BinaryIO) -> str:
    return file.read(_read_scalar(file, "Q")).decode("utf-8", "replace")


def _read_value(file: BinaryIO, kind: int) -> Any:
    """Read a value of a type; that of an array is skipped."""
    if kind == _STRING:
        return _read_string(file)
    if kind != _ARRAY:
        return _read_scalar(file, _SCALARS[kind])
    items, count = _read_scalar(file, "I"), _read_scalar(file, "Q")
    if items in _SCALARS:
        file.seek(count * struct.calcsize(f"<{_SCALARS[items]}"), 1)
    else:
        for _ in range(count):
            _read_value(file, items)
    return None
