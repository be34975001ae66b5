"""Add LoRA pairs (Hu et al. 2021, arXiv 2106.09685) to a model, and save them in PEFT's format."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from ...files import write_json
from ..backend import CONFIG, WEIGHTS

if TYPE_CHECKING:
    import torch


def add_lora(model: Any, rank: int) -> dict[str, Any]:
    """Freeze the model and add a LoRA pair to every linear layer of its blocks, whatever its name.

    Returns the new layers by name; lora_a is (rank, in), lora_b is (out, rank) and zero. The scale is 1.
    Raises UserError for a model without linear layers.
    """
    import torch

    class Lora(torch.nn.Module):
        def __init__(self, base: Any) -> None:
            super().__init__()
            self.base = base
            a = torch.randn(rank, base.in_features) / math.sqrt(base.in_features)
            self.lora_a = torch.nn.Parameter(a.to(base.weight))
            self.lora_b = torch.nn.Parameter(base.weight.new_zeros(base.out_features, rank))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            linear = torch.nn.functional.linear
            hidden = linear(x, self.lora_a).flatten(0, -2)
            return torch.addmm(self.base(x).flatten(0, -2), hidden, self.lora_b.t()).view(*x.shape[:-1], -1)

    model.requires_grad_(False)
    head = model.get_output_embeddings()  # not part of a block, and in a small model as large as all the rest
    layers = {}
    for name, module in list(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and module is not head:
            parent = model.get_submodule(name.rpartition(".")[0])
            layers[name] = Lora(module)
            setattr(parent, name.rpartition(".")[2], layers[name])
    if not layers:
        raise UserError(f"a {model.config.model_type} model has no linear layers to adapt: use another base")
    return layers


def read_adapter(source: Path, base: Path) -> dict[str, torch.Tensor]:
    """Read the pairs of an adapter, by the names that PEFT gives them.

    source: a folder written by save_adapter, or a GGUF file written by export_adapter for `base`. Raises
    UserError if it is missing or damaged.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if source.is_file():
        from .import_gguf import read_gguf_adapter

        return {name: torch.from_numpy(values) for name, values in read_gguf_adapter(source, base).items()}
    try:
        return load_file(str(source / WEIGHTS))
    except OSError as error:
        reason = f"{WEIGHTS}: {error.strerror or 'cannot be read'}"
        raise UserError(f"{source} has no adapter to start from ({reason})") from None
    except SafetensorError:
        raise UserError(f"{source} has no adapter to start from ({WEIGHTS} is damaged)") from None


def load_adapter(layers: dict[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Load the pairs of an adapter into a model, to continue its training; they have to be of its shapes."""
    import torch

    with torch.no_grad():
        for name, layer in layers.items():
            for pair, side in ((layer.lora_a, "A"), (layer.lora_b, "B")):
                values = tensors.get(f"base_model.model.{name}.lora_{side}.weight")
                if values is None or values.shape != pair.shape:
                    raise UserError("the adapter to start from was trained for another model: see --model")
                pair.copy_(values)


def save_adapter(layers: dict[str, Any], masters: Sequence[torch.Tensor], rank: int, folder: Path) -> None:
    """Write the adapter in PEFT's format: CONFIG and WEIGHTS in the folder."""
    from safetensors.torch import save_file

    weights = iter(masters)
    tensors = {
        f"base_model.model.{name}.{part}.weight": next(weights).contiguous()
        for name in layers
        for part in ("lora_A", "lora_B")
    }
    save_file(tensors, str(folder / WEIGHTS))
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted({name.rpartition(".")[2] for name in layers}),
    }
    write_json(folder / CONFIG, config, indent=1)
