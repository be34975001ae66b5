"""The teacher as one model: base plus adapter, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tools.raft.errors import UserError
from tools.raft.models.embedded import default_model, teacher_adapter
from tools.raft.models.merge_lora import merge_adapter, merged_model


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


def test_an_adapter_is_merged_once_and_anew_when_it_changes(tmp_path: Path) -> None:
    lora = tmp_path / "adapter.gguf"
    lora.write_bytes(teacher_adapter().read_bytes())
    merged, revision = merged_model(lora)
    made = merged.stat().st_mtime_ns
    assert merged_model(lora) == (merged, revision) and merged.stat().st_mtime_ns == made
    with lora.open("ab") as file:
        file.write(b"\0" * 32)  # another file, as after another training
    again, other = merged_model(lora)
    assert other != revision and [path.name for path in merged.parent.iterdir()] == [again.name]


def test_what_is_no_adapter_of_the_model_is_one_clear_line(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    missing, text, odd = (tmp_path / name for name in ("none.gguf", "text.gguf", "odd.gguf"))
    text.write_text("not a model", encoding="utf-8")
    writer = GGUFWriter(str(odd), "llama")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for half, shape in (("a", (4, 8)), ("b", (8, 4))):
        writer.add_tensor(f"blk.0.attn_q.weight.lora_{half}", np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for file, why in (
        (missing, "name a GGUF file"),
        (text, "is not a GGUF file"),
        (default_model(), "is no adapter"),
        (odd, "trained for another model"),
    ):
        copy = tmp_path / "copies" / file.name
        copy.parent.mkdir(exist_ok=True)
        if file.exists():
            copy.write_bytes(file.read_bytes())
        with pytest.raises(UserError, match=why):
            merged_model(copy)
