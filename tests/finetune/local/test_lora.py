"""Which weights of a model are trained, and how the adapter is saved."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import tiny_model
from tools.raft.errors import UserError
from tools.raft.finetune.local.lora import add_lora, load_adapter, read_adapter, save_adapter


def test_only_the_adapter_is_trainable() -> None:
    import torch

    model = tiny_model()
    layers = add_lora(model, rank=2)
    assert len(layers) == 2 * 7
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert all(".lora_" in name for name in trainable)
    assert len(trainable) == 2 * len(layers)
    ids = torch.tensor([[1, 2, 3]])
    before = model(ids).logits
    with torch.no_grad():
        layers["model.layers.0.self_attn.q_proj"].lora_b.fill_(0.5)
    assert not torch.allclose(before, model(ids).logits)


def test_peft_loads_a_saved_adapter(tmp_path: Path) -> None:
    import torch
    from peft import PeftModel

    model = tiny_model()
    layers = add_lora(model, rank=2)
    with torch.no_grad():
        for layer in layers.values():
            layer.lora_b.normal_()
    masters = [p.detach() for layer in layers.values() for p in (layer.lora_a, layer.lora_b)]
    save_adapter(layers, masters, 2, tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    peft_model = PeftModel.from_pretrained(tiny_model(), str(tmp_path))
    assert torch.allclose(peft_model(ids).logits, model(ids).logits, atol=1e-5)

    restored = tiny_model()
    load_adapter(add_lora(restored, rank=2), read_adapter(tmp_path, tmp_path))
    assert torch.allclose(restored(ids).logits, model(ids).logits, atol=1e-6)
    with pytest.raises(UserError, match="no adapter to start from"):
        read_adapter(tmp_path / "none", tmp_path)
    with pytest.raises(UserError, match="another model"):
        load_adapter(add_lora(tiny_model(), rank=3), read_adapter(tmp_path, tmp_path))


def test_adapts_models_with_other_layer_names() -> None:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, GPTNeoXConfig, GPTNeoXForCausalLM

    small = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    neox = GPTNeoXForCausalLM(GPTNeoXConfig(**small, intermediate_size=32))
    layers = add_lora(neox, rank=2)
    assert {name.rpartition(".")[2] for name in layers} == {
        "query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h",
    }  # fmt: skip
    assert neox(torch.tensor([[1, 2]])).logits.shape == (1, 2, 50)
    with pytest.raises(UserError, match="a gpt2 model has no linear layers"):
        add_lora(GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=16, n_layer=1, n_head=2)), rank=2)
