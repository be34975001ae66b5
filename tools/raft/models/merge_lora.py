"""Merge a LoRA adapter into its base model: one GGUF, twice as fast as model and adapter apart."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ..child import processors
from ..errors import UserError
from ..files import hash_file, replacing
from ..progress import Progress, no_progress
from .weights import check_gguf, default_model


def merged_model(lora: Path, progress: Progress = no_progress) -> tuple[Path, str]:
    """Return the embedded model merged with an adapter, as one GGUF file, and its revision.

    The file is written on first use to .cache beside the adapter and takes 145 MB. The revision is a hash
    of model and adapter. Raises UserError if either is missing, they do not match, or the folder cannot be
    written.
    """
    base = default_model()
    check_gguf(lora)
    revision = hash_file(base, lora)[:12]
    merged = lora.parent / ".cache" / f"{lora.stem}-{revision}.gguf"
    if not merged.exists():
        try:
            merged.parent.mkdir(exist_ok=True)
            for stale in merged.parent.glob(f"*{lora.stem}-{'?' * 12}.gguf*"):
                stale.unlink()
            with progress(f"merging {lora.name} into {base.stem}", 0):
                merge_adapter(base, lora, merged)
        except OSError as error:
            raise UserError(
                f"{merged} cannot be written ({error.strerror}): free disk space or make the folder writable"
            ) from None
    return merged, revision


def merge_adapter(base: Path, lora: Path, out: Path) -> None:
    """Write base + alpha / rank · B·A as GGUF, the merged matrices in 8 bits, everything else unchanged.

    The formula is LoRA's (Hu et al. 2021, arXiv 2106.09685). The file is written atomically. Raises
    UserError for an adapter of another model.
    """
    import numpy as np
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize, quantize

    model = GGUFReader(base)
    try:
        adapter = GGUFReader(lora)
        scale = float(adapter.fields["adapter.lora.alpha"].contents())
    except (ValueError, IndexError, KeyError):
        raise UserError(f"{lora} is not a complete adapter in GGUF: run the training again") from None
    halves: dict[str, Any] = {tensor.name: np.asarray(tensor.data, np.float32) for tensor in adapter.tensors}
    pairs = {
        tensor.name: (halves[f"{tensor.name}.lora_a"], halves[f"{tensor.name}.lora_b"])
        for tensor in model.tensors
        if f"{tensor.name}.lora_a" in halves
    }
    shapes = {tensor.name: tuple(reversed(tensor.shape.tolist())) for tensor in model.tensors}
    if 2 * len(pairs) != len(halves) or any(
        shapes[name] != (len(b), a.shape[1]) for name, (a, b) in pairs.items()
    ):
        raise UserError(f"{lora} was trained for another model than {base.name}: serve it with that model")

    def merge(tensor: Any) -> tuple[Any, Any]:
        if tensor.name not in pairs:
            return tensor.data, tensor.tensor_type
        a, b = pairs[tensor.name]
        weights = dequantize(tensor.data, tensor.tensor_type)
        weights += (np.float32(scale / len(a)) * b) @ a
        return quantize(weights, GGMLQuantizationType.Q8_0), GGMLQuantizationType.Q8_0

    with replacing(out, shared=True) as staging:
        writer = GGUFWriter(staging, str(model.fields["general.architecture"].contents()))
        for name, field in model.fields.items():
            if not name.startswith("GGUF.") and name != "general.architecture":
                item_type = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
                writer.add_key_value(name, field.contents(), field.types[0], item_type)
        # NumPy works outside the interpreter's lock, so threads halve the time on two processors.
        with ThreadPoolExecutor(processors()) as pool:
            for tensor, (data, dtype) in zip(model.tensors, pool.map(merge, model.tensors), strict=True):
                writer.add_tensor(tensor.name, data, raw_dtype=dtype)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
