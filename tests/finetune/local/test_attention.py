"""The faster attention computes the same as PyTorch's."""

from __future__ import annotations

import random

import pytest

from tests.tiny import tiny_model
from tools.raft.finetune.local.attention import MAX_QUERIES, use_matrix_products
from tools.raft.finetune.local.pack import Example, pack_examples, pack_loss


@pytest.mark.parametrize("length", [12, MAX_QUERIES + 40])
def test_losses_and_gradients_match_the_default_attention(length: int) -> None:
    import torch

    draw = random.Random(0)
    prefix = [draw.randrange(200) for _ in range(length)]
    ends = [[draw.randrange(200) for _ in range(6)] for _ in range(3)]
    (pack,) = pack_examples([Example(prefix + end, end, [1.0] * 6) for end in ends], max_tokens=9999)
    default, faster = tiny_model(), tiny_model()
    use_matrix_products(faster)
    assert pack.segment_lengths == [length, 12, 12, 12], "the prefix, then the rest of each example"
    losses = [pack_loss(model, pack) for model in (default, faster)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    for (name, a), (_, b) in zip(default.named_parameters(), faster.named_parameters(), strict=True):
        if a.grad is not None:
            assert torch.allclose(a.grad, b.grad, atol=1e-4), name
