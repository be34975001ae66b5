"""The fused blocks compute what the modules of transformers with LoRA layers compute."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.tiny import tiny_model
from tools.raft.finetune.local import block, recompute
from tools.raft.finetune.local.block import fuse_blocks
from tools.raft.finetune.local.lora import add_lora
from tools.raft.finetune.local.pack import Example, Pack, pack_examples, pack_loss


def make_pack(prefix: int, examples: int, *, ends: int = 9) -> Pack:
    """Return a pack of random examples that share a prefix; of one alone, the prompt is the prefix."""
    draw = random.Random(prefix)
    shared = [draw.randrange(200) for _ in range(prefix)]
    rest = [[draw.randrange(200) for _ in range(ends)] for _ in range(examples)]
    (pack,) = pack_examples([Example(shared + end, end, [1.0] * ends) for end in rest], max_tokens=99_999)
    return pack


def adapted_model() -> tuple[Any, dict[str, Any]]:
    """Return a model with LoRA pairs that change what it computes, and their gradients' names."""
    import torch

    torch.manual_seed(3)
    model = tiny_model()
    pairs = {}
    for name, layer in add_lora(model, 4).items():
        with torch.no_grad():
            layer.lora_b.normal_(0, 0.05)
        pairs |= {f"{name} a": layer.lora_a, f"{name} b": layer.lora_b}
    return model, pairs


def assert_same_gradients(first: dict[str, Any], second: dict[str, Any]) -> None:
    import torch

    for name, pair in first.items():
        assert torch.allclose(pair.grad, second[name].grad, rtol=1e-3, atol=1e-6), name


@pytest.mark.parametrize(
    "pack",
    [
        make_pack(12, 3),
        make_pack(block.QUERIES + 40, 3),
        make_pack(0, 1, ends=block.QUERIES),
        make_pack(30, 1),
    ],
    ids=["short prefix", "prefix of two pieces", "no documents", "one example"],
)
def test_losses_and_gradients_match_those_of_the_modules(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block, "GRADIENT_ROWS", 1.0)
    (modules, expected), (fused, computed) = adapted_model(), adapted_model()
    assert fuse_blocks(fused)
    losses = [pack_loss(model, pack) for model in (modules, fused)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    assert_same_gradients(expected, computed)


def test_a_long_pack_gets_the_same_gradients_in_less_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    pack, (kept, expected), (computed_twice, computed) = make_pack(40, 2), adapted_model(), adapted_model()
    fuse_blocks(kept)
    pack_loss(kept, pack).backward()
    monkeypatch.setattr(recompute, "KEPT_TOKENS", 10)
    fuse_blocks(computed_twice)
    pack_loss(computed_twice, pack).backward()
    assert_same_gradients(expected, computed)


def test_most_of_the_gradient_remains_if_few_tokens_pass_it_on() -> None:
    import torch

    pack, (modules, expected), (fused, computed) = make_pack(60, 3), adapted_model(), adapted_model()
    fuse_blocks(fused)
    for model in (modules, fused):
        pack_loss(model, pack).backward()
    exact, partial = (
        torch.cat([pair.grad.flatten() for pair in pairs.values()]) for pairs in (expected, computed)
    )
    cosine = torch.nn.functional.cosine_similarity(exact, partial, dim=0).item()
    assert 0.8 < cosine < 0.9999


def test_a_change_of_the_pairs_changes_the_result() -> None:
    import torch

    pack, (model, pairs) = make_pack(12, 2), adapted_model()
    fuse_blocks(model)
    with torch.no_grad():
        before = pack_loss(model, pack).item()
        for pair in pairs.values():
            pair.mul_(1.5)
        assert pack_loss(model, pack).item() != pytest.approx(before, rel=1e-4)


def test_blocks_of_another_form_are_left_as_they_are() -> None:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "vocab_size": 50}
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, num_attention_heads=4, num_key_value_heads=2))
    add_lora(model, 2)
    kinds = [type(layer) for layer in model.model.layers]
    assert not fuse_blocks(model)
    assert [type(layer) for layer in model.model.layers] == kinds
