"""Merge a LoRA adapter into its model: one GGUF that answers twice as fast as the two together."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from .errors import UserError
from .serve import default_model, teacher_adapter


def teacher_model() -> tuple[Path, str]:
    """Give the embedded teacher as one GGUF, merged the first time it is wanted, and its revision.

    It stands in data/teacher/.cache and takes 145 MB. The revision is a hash of model and adapter.
    Raises UserError where either is missing or the folder cannot be written.
    """
    base, lora = default_model(), teacher_adapter()
    revision = _hash(base, lora)
    merged = lora.parent / ".cache" / f"teacher-{revision}.gguf"
    if not merged.exists():
        try:
            merged.parent.mkdir(exist_ok=True)
            for stale in merged.parent.glob("teacher-*"):
                stale.unlink()
            merge_adapter(base, lora, merged)
        except OSError as error:
            raise UserError(
                f"{merged} cannot be written ({error.strerror}); make room, or the folder writable"
            ) from None
    return merged, revision


def merge_adapter(base: Path, lora: Path, out: Path) -> None:
    """Write base + alpha / rank · B·A as GGUF, the merged matrices in 8 bits, everything else as it was.

    The formula is LoRA's (Hu et al. 2021, arXiv 2106.09685); the file appears whole or not at all.
    """
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize, quantize

    model, adapter = GGUFReader(base), GGUFReader(lora)
    scale = float(adapter.fields["adapter.lora.alpha"].contents())
    halves: dict[str, Any] = {tensor.name: np.asarray(tensor.data, np.float32) for tensor in adapter.tensors}
    part = out.with_name(out.name + f".{os.getpid()}.part")
    writer = GGUFWriter(part, str(model.fields["general.architecture"].contents()))
    for name, field in model.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], inner)
    eight = GGMLQuantizationType.Q8_0
    for tensor in model.tensors:
        a, b = halves.get(f"{tensor.name}.lora_a"), halves.get(f"{tensor.name}.lora_b")
        if a is None or b is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weights = dequantize(tensor.data, tensor.tensor_type) + (scale / len(a)) * (b @ a)
        writer.add_tensor(tensor.name, quantize(weights.astype(np.float32), eight), raw_dtype=eight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(out)


def _hash(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
