"""Merge a LoRA adapter in PEFT's format into its base model, for servers that take whole models."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from .backend import convert_gguf, find_base


def merge_adapter(model: str, adapter: Path, out: Path) -> None:
    """Write base and adapter as one transformers model to `out`, in the precision of the base.

    model: as for TrlBackend. The base is loaded unquantized, whatever it was trained as, into the memory of
    this machine. Raises UserError if it is not there.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = find_base(model)
    with TemporaryDirectory() as scratch:
        if base.endswith(".gguf"):
            base = convert_gguf(Path(base), Path(scratch) / "base")
        loaded = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
        merged = PeftModel.from_pretrained(loaded, str(adapter)).merge_and_unload()
        out.mkdir(parents=True, exist_ok=True)
        merged.save_pretrained(out)
        AutoTokenizer.from_pretrained(base).save_pretrained(out)
