"""The teacher as one model: base plus adapter, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tools.raft.merge import merge_adapter
from tools.raft.serve import default_model, teacher_adapter


def test_merged_weights_are_base_plus_adapter(tmp_path: Path) -> None:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    out = tmp_path / "merged.gguf"
    merge_adapter(default_model(), teacher_adapter(), out)
    base, lora, merged = (GGUFReader(path) for path in (default_model(), teacher_adapter(), out))
    tensors = [{tensor.name: tensor for tensor in reader.tensors} for reader in (base, lora, merged)]
    name = "blk.7.attn_q.weight"
    a, b = (np.asarray(tensors[1][f"{name}.lora_{half}"].data, np.float32) for half in "ab")
    scale = float(lora.fields["adapter.lora.alpha"].contents()) / len(a)
    before, after = (dequantize(t[name].data, t[name].tensor_type) for t in (tensors[0], tensors[2]))
    expected = before + scale * (b @ a)
    assert np.abs(expected - before).max() > 0.01, "the adapter changes something"
    assert np.abs(after - expected).max() < np.abs(expected).max() / 100, "within 8 bits of it"
    assert tensors[0].keys() == tensors[2].keys()
    assert {n for n in base.fields if not n.startswith("GGUF.")} == {
        n for n in merged.fields if not n.startswith("GGUF.")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["merged.gguf"]
