"""A LoRA adapter has the same effect in llama.cpp as in PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tools.raft.errors import UserError
from tools.raft.finetune.local.export_gguf import can_export, export_adapter

HEADS, KV_HEADS, SIZE, RANK = 4, 2, 6, 3


def write_base(path: Path, architecture: str = "llama") -> Path:
    from gguf import GGUFWriter

    writer = GGUFWriter(str(path), architecture)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_peft(folder: Path, tensors: dict[str, np.ndarray], **config: object) -> Path:
    from safetensors.numpy import save_file

    folder.mkdir()
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, **config}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def lora(part: str, rows: int, columns: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    name = f"base_model.model.model.layers.7.{part}"
    return {
        f"{name}.lora_A.weight": draw.normal(size=(RANK, columns)).astype(np.float32),
        f"{name}.lora_B.weight": draw.normal(size=(rows, RANK)).astype(np.float32),
    }


def test_weights_keep_their_values_and_rotary_rows_are_reordered(tmp_path: Path) -> None:
    from gguf import GGUFReader

    tensors = lora("self_attn.q_proj", HEADS * SIZE, 8) | lora("self_attn.k_proj", KV_HEADS * SIZE, 8)
    tensors |= lora("self_attn.v_proj", KV_HEADS * SIZE, 8) | lora("mlp.down_proj", 8, 20)
    base = write_base(tmp_path / "base.gguf")
    out = export_adapter(write_peft(tmp_path / "peft", tensors), tmp_path / "a.gguf", base=base)

    reader = GGUFReader(str(out))
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["adapter.lora.alpha"] == 6.0
    written = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    assert len(written) == 8
    assert {array.dtype for array in written.values()} == {np.dtype(np.float16)}

    def expected(part: str, side: str) -> np.ndarray:
        return tensors[f"base_model.model.model.layers.7.{part}.lora_{side}.weight"].astype(np.float16)

    assert (written["blk.7.attn_v.weight.lora_b"] == expected("self_attn.v_proj", "B")).all()
    assert (written["blk.7.ffn_down.weight.lora_a"] == expected("mlp.down_proj", "A")).all()
    assert (written["blk.7.attn_q.weight.lora_a"] == expected("self_attn.q_proj", "A")).all()
    # The rows 0 1 2 | 3 4 5 of a head, its two rotary halves, become the pairs 0 3 | 1 4 | 2 5.
    pairs = [0, 3, 1, 4, 2, 5]
    order = [SIZE * head + row for head in range(HEADS) for row in pairs]
    assert (written["blk.7.attn_q.weight.lora_b"] == expected("self_attn.q_proj", "B")[order]).all()
    assert (
        written["blk.7.attn_k.weight.lora_b"] == expected("self_attn.k_proj", "B")[order[: KV_HEADS * SIZE]]
    ).all()


def test_rejects_adapters_that_cannot_be_written(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base.gguf")
    good = lora("self_attn.q_proj", HEADS * SIZE, 8)
    with pytest.raises(UserError, match=r"adapter_config\.json is missing"):
        export_adapter(tmp_path, tmp_path / "a.gguf", base=base)
    with pytest.raises(UserError, match="not hold a plain LoRA"):
        export_adapter(write_peft(tmp_path / "dora", good, use_dora=True), tmp_path / "a.gguf", base=base)
    with pytest.raises(UserError, match=r"embed_tokens.* has no counterpart"):
        odd = {"base_model.model.model.embed_tokens.lora_A.weight": np.zeros((2, 2), np.float32)}
        export_adapter(write_peft(tmp_path / "odd", odd), tmp_path / "a.gguf", base=base)
    with pytest.raises(UserError, match="mamba"):
        other = write_base(tmp_path / "other.gguf", "mamba")
        export_adapter(write_peft(tmp_path / "good", good), tmp_path / "a.gguf", base=other)
    with pytest.raises(UserError, match="not a GGUF"):
        (tmp_path / "text.gguf").write_text("hello", encoding="utf-8")
        export_adapter(tmp_path / "good", tmp_path / "a.gguf", base=tmp_path / "text.gguf")
    assert not (tmp_path / "a.gguf").exists(), "no partial file is left"


@pytest.mark.slow
def test_llama_cpp_and_pytorch_agree_on_the_next_token(tmp_path: Path) -> None:
    import httpx
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tools.raft.finetune.local.lora import add_lora, save_adapter
    from tools.raft.models.embedded import default_model, embedded_server
    from tools.raft.models.gguf_reading import reading_once
    from tools.raft.models.weights import pretrained_source

    gguf = default_model()
    source = pretrained_source(gguf)
    with reading_once():
        tokenizer = AutoTokenizer.from_pretrained(**source)
        model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    torch.manual_seed(0)
    layers = add_lora(model, rank=4)
    with torch.no_grad():
        for layer in layers.values():
            layer.lora_b.normal_(0, 0.4)
    weights = [p.detach().float() for layer in layers.values() for p in (layer.lora_a, layer.lora_b)]
    save_adapter(layers, weights, 4, tmp_path)
    adapter = export_adapter(tmp_path, tmp_path / "a.gguf", base=gguf)

    text = "The lesser horseshoe bat leaves its roost half an hour after"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    with torch.no_grad():
        log_probs = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, -1], -1)

    def distance(scale: float) -> float:
        """Return the total variation distance over the 50 tokens that llama.cpp ranks first."""
        body = {
            "prompt": ids,
            "n_predict": 1,
            "temperature": 0,
            "n_probs": 50,
            "lora": [{"id": 0, "scale": scale}],
        }
        reply = httpx.post(base_url.removesuffix("/v1") + "/completion", json=body, timeout=60).json()
        top = reply["completion_probabilities"][0]["top_logprobs"]
        return 0.5 * sum(abs(np.exp(t["logprob"]) - log_probs[t["id"]].exp().item()) for t in top)

    with embedded_server(lora=adapter, slots=1) as base_url:
        # The served base computes on 8-bit activations; with rows in the wrong order the distance exceeds 0.35.
        assert distance(1.0) < 0.2
        assert distance(0.0) > 0.3, "the adapter has an effect"


def test_exports_for_a_transformers_folder_too(tmp_path: Path) -> None:
    tensors = lora("self_attn.q_proj", HEADS * SIZE, 8) | lora("self_attn.k_proj", KV_HEADS * SIZE, 8)
    peft, base = write_peft(tmp_path / "peft", tensors), tmp_path / "base"
    base.mkdir()
    config = {"model_type": "llama", "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS}
    (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
    from_gguf = export_adapter(peft, tmp_path / "a.gguf", base=write_base(tmp_path / "base.gguf"))
    assert can_export(base)
    assert export_adapter(peft, tmp_path / "b.gguf", base=base).read_bytes() == from_gguf.read_bytes()

    (base / "config.json").write_text(json.dumps({**config, "model_type": "gpt_neox"}), encoding="utf-8")
    assert not can_export(base)
    with pytest.raises(UserError, match="is a gpt_neox model"):
        export_adapter(peft, tmp_path / "c.gguf", base=base)
