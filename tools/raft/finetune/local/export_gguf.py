"""Convert a LoRA adapter in PEFT's format to GGUF, for llama.cpp."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...errors import UserError
from ..backend import CONFIG, WEIGHTS

_TENSOR_NAME = re.compile(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)\.lora_([AB])(?:\.\w+)?\.weight$")
GGUF_NAMES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def export_adapter(folder: Path, out: Path, *, base: Path) -> Path:
    """Write a PEFT LoRA adapter as a half-precision GGUF file, to be served with `base`.

    folder: holds adapter_config.json and adapter_model.safetensors. base: the model it was trained on,
    a GGUF file or a transformers folder; its architecture has to be llama. Raises UserError for
    anything else.
    """
    import numpy as np
    from gguf import GGUFWriter
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8-sig"))
        tensors = load_file(folder / WEIGHTS)
    except OSError as error:
        raise UserError(
            f"{error.filename or folder} is missing: name a folder with an adapter saved by PEFT"
        ) from None
    except (ValueError, SafetensorError):
        raise UserError(f"{folder} holds a damaged adapter: {CONFIG} or {WEIGHTS} cannot be parsed") from None
    architecture, heads, kv_heads = architecture_of(base)
    if config.get("peft_type") != "LORA" or config.get("use_rslora") or config.get("use_dora"):
        raise UserError(f"{folder} does not hold a plain LoRA adapter; only those can be written as GGUF")

    writer = GGUFWriter(str(out), architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(config["lora_alpha"]))
    for name, values in sorted(tensors.items()):
        match = _TENSOR_NAME.search(name)
        if not match or match[2] not in GGUF_NAMES:
            raise UserError(f"{folder}: the tensor {name} has no counterpart in a GGUF adapter")
        layer, part, side = match.groups()
        values = values.astype(np.float32)
        if side == "B" and part in ("q_proj", "k_proj"):
            values = _permute(values, heads if part == "q_proj" else kv_heads)
        gguf_name = f"blk.{layer}.{GGUF_NAMES[part]}.weight.lora_{side.lower()}"
        writer.add_tensor(gguf_name, values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return out


def _permute(rows: Any, heads: int) -> Any:
    """Reorder output rows from the two halves of a rotary head to interleaved pairs.

    rows: (heads * size, rank). llama.cpp stores the query and key weights of Llama models that way.
    """
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def can_export(base: Path) -> bool:
    """Return whether adapters for a model (a GGUF file or a transformers folder) can be written as GGUF."""
    return base.suffix == ".gguf" or _read_config(base).get("model_type") == "llama"


def _read_config(base: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((base / "config.json").read_text(encoding="utf-8-sig")))
    except (OSError, ValueError):
        return {}


def architecture_of(base: Path) -> tuple[str, int, int]:
    """Return the architecture, the number of heads, and the number of key/value heads."""
    if base.is_dir():
        config = _read_config(base)
        architecture, heads = str(config.get("model_type")), config.get("num_attention_heads", 0)
        kv_heads = config.get("num_key_value_heads") or heads
    else:
        architecture, heads, kv_heads = _read_gguf(base)
    if architecture != "llama":
        raise UserError(f"{base} is a {architecture} model; adapters can be exported for llama models only")
    return architecture, int(heads), int(kv_heads)


def _read_gguf(base: Path) -> tuple[str, Any, Any]:
    from gguf import GGUFReader

    try:
        fields = GGUFReader(str(base)).fields
        architecture = str(fields["general.architecture"].contents())
    except (OSError, ValueError, IndexError, KeyError):
        raise UserError(f"{base} is not a GGUF model, or a damaged one") from None
    heads, kv_heads = (
        fields[name].contents() if (name := f"{architecture}.attention.{part}") in fields else 0
        for part in ("head_count", "head_count_kv")
    )
    return architecture, heads, kv_heads or heads
