"""Packs whose blocks are computed twice get the same gradients."""

from __future__ import annotations

import pytest

from tests.finetune.local.test_block import adapted_model, assert_same_gradients, make_pack
from tools.raft.finetune.local import recompute
from tools.raft.finetune.local.pack import pack_loss


def test_gradients_are_the_same_and_less_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    pack, (kept, expected), (computed_twice, computed) = make_pack(40, 2), adapted_model(), adapted_model()
    monkeypatch.setattr(recompute, "KEPT_TOKENS", 10)
    recompute.recompute_long_packs(computed_twice)
    sizes = {}
    for model in (kept, computed_twice):
        tensors: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, seen=tensors: (seen.append(x.numel()), x)[1], lambda x: x
        ):
            pack_loss(model, pack).backward()
        sizes[model] = sum(tensors)
    assert_same_gradients(expected, computed)
    assert sizes[computed_twice] < sizes[kept]
