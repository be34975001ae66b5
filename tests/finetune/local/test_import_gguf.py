"""An adapter read from GGUF is the one that was exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.finetune.local.test_export_gguf import HEADS, KV_HEADS, RANK, SIZE, lora, write_base, write_peft
from tools.raft.errors import UserError
from tools.raft.finetune.local.export_gguf import export_adapter
from tools.raft.finetune.local.import_gguf import adapter_rank
from tools.raft.finetune.local.lora import read_adapter
from tools.raft.models.weights import default_model, find_base


def test_an_exported_adapter_is_read_with_its_scale_taken_in(tmp_path: Path) -> None:
    tensors = lora("self_attn.q_proj", HEADS * SIZE, 8) | lora("self_attn.k_proj", KV_HEADS * SIZE, 8)
    tensors |= lora("self_attn.v_proj", KV_HEADS * SIZE, 8) | lora("mlp.down_proj", 8, 20)
    base = write_base(tmp_path / "base.gguf")
    out = export_adapter(write_peft(tmp_path / "peft", tensors), tmp_path / "a.gguf", base=base)

    assert adapter_rank(out) == RANK and type(adapter_rank(out)) is int
    read = read_adapter(out, base)
    assert read.keys() == tensors.keys()
    for name, values in tensors.items():
        scale = 6 / RANK if "lora_B" in name else 1.0  # lora_alpha / r
        assert np.allclose(read[name].numpy(), scale * values, atol=4e-3), name


def test_an_adapter_stands_for_its_base_model_and_a_model_for_itself(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    tensors = lora("mlp.down_proj", 8, 20)
    out = export_adapter(write_peft(tmp_path / "peft", tensors), tmp_path / "a.gguf", base=base)
    assert find_base(str(out)) == default_model()
    assert find_base(str(base)) == base
    with pytest.raises(UserError, match="not a LoRA adapter"):
        adapter_rank(base)
