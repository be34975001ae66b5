"""Add LoRA pairs (Hu et al. 2021, arXiv 2106.09685) to a model, and save them in PEFT's format."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def load_adapter(layers: dict[str, Any], folder: Path) -> None:
    """Load the weights of an adapter written by save_adapter, to continue its training."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(str(folder / WEIGHTS))
    except OSError as error:
        reason = f"{WEIGHTS}: {error.strerror or 'cannot be read'}"
        raise UserError(f"{folder} has no adapter to start from ({reason})") from None
    except SafetensorError:
        raise UserError(f"{folder} has no adapter to start from ({WEIGHTS} is damaged)") from None
    with torch.no_grad():
        for name, layer in layers.items():
            layer.lora_a.copy_(tensors[f"base_model.model.{name}.lora_A.weight"])
            layer.lora_b.copy_(tensors[f"base_model.model.{name}.lora_B.weight"])


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
