"""Read a LoRA adapter from GGUF, to continue its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import UserError
from .export_gguf import GGUF_NAMES, architecture_of

_PARTS = {gguf_name: part for part, gguf_name in GGUF_NAMES.items()}


def adapter_rank(path: Path) -> int:
    """Return the rank of an adapter. Raises UserError for a damaged file."""
    return int(min(min(tensor.shape) for tensor in _open(path).tensors))


def read_gguf_adapter(path: Path, base: Path) -> dict[str, Any]:
    """Return the pairs of an adapter as arrays, float32, under the names that PEFT gives them.

    The inverse of export_adapter, with a scale of 1 taken into lora_B. base: the model it was trained on.
    Raises UserError for a damaged file.
    """
    import numpy as np

    reader, (_, heads, kv_heads) = _open(path), architecture_of(base)
    alpha = float(reader.fields["adapter.lora.alpha"].contents())
    pairs = {}
    for tensor in reader.tensors:
        _, layer, gguf_name, _, side = tensor.name.split(".")
        part, side = _PARTS[gguf_name], side[-1].upper()
        values = np.asarray(tensor.data, np.float32)
        if side == "B":
            values = values * (alpha / values.shape[1])
            if part in ("q_proj", "k_proj"):
                values = _restore_halves(values, heads if part == "q_proj" else kv_heads)
        parent = "mlp" if gguf_name.startswith("ffn") else "self_attn"
        pairs[f"base_model.model.model.layers.{layer}.{parent}.{part}.lora_{side}.weight"] = values
    return pairs


def _open(path: Path) -> Any:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(str(path))
        if "adapter.lora.alpha" in reader.fields and reader.tensors:
            return reader
    except (OSError, ValueError, IndexError, KeyError):
        pass
    raise UserError(f"{path} is not a LoRA adapter in GGUF, or a damaged one")


def _restore_halves(rows: Any, heads: int) -> Any:
    """Reorder output rows from interleaved pairs to the two halves of a rotary head."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)
