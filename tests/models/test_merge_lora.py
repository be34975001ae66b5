"""Merging an adapter: base plus adapter, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tools.raft.errors import UserError
from tools.raft.models.embedded import default_model, teacher_adapter
from tools.raft.models.gguf_reading import reading_once
from tools.raft.models.merge_lora import merge_adapter, merged_model


@pytest.fixture(autouse=True, scope="module")
def read_the_base_once() -> Iterator[None]:
    with reading_once():
        yield


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
    before, after = (
        dequantize(model[name].data, model[name].tensor_type) for model in (tensors[0], tensors[2])
    )
    expected = before + scale * (b @ a)
    assert np.abs(expected - before).max() > 0.01, "the adapter changes something"
    assert np.abs(after - expected).max() < np.abs(expected).max() / 100, (
        "equal but for the rounding to 8 bits"
    )
    assert tensors[0].keys() == tensors[2].keys()
    assert {key for key in base.fields if not key.startswith("GGUF.")} == {
        key for key in merged.fields if not key.startswith("GGUF.")
    }
    assert [path.name for path in tmp_path.iterdir()] == ["merged.gguf"]


def test_merges_an_adapter_once_and_again_if_it_changes(tmp_path: Path) -> None:
    lora = tmp_path / "adapter.gguf"
    lora.write_bytes(teacher_adapter().read_bytes())
    merged, revision = merged_model(lora)
    modified = merged.stat().st_mtime_ns
    assert merged_model(lora) == (merged, revision) and merged.stat().st_mtime_ns == modified
    with lora.open("ab") as file:
        file.write(b"\0" * 32)  # a different file, as after another training run
    new_merged, new_revision = merged_model(lora)
    assert new_revision != revision
    assert [path.name for path in merged.parent.iterdir()] == [new_merged.name]


def test_rejects_what_is_not_an_adapter_of_the_model(tmp_path: Path) -> None:
    from gguf import GGUFWriter

    missing, text, mismatched = (tmp_path / name for name in ("none.gguf", "text.gguf", "odd.gguf"))
    text.write_text("not a model", encoding="utf-8")
    writer = GGUFWriter(str(mismatched), "llama")
    writer.add_float32("adapter.lora.alpha", 4.0)
    for half, shape in (("a", (4, 8)), ("b", (8, 4))):
        writer.add_tensor(f"blk.0.attn_q.weight.lora_{half}", np.zeros(shape, np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    for file, message in (
        (missing, "name a GGUF file"),
        (text, "is not a GGUF file"),
        (default_model(), "is not a complete adapter"),
        (mismatched, "trained for another model"),
    ):
        copy = tmp_path / "copies" / file.name
        copy.parent.mkdir(exist_ok=True)
        if file.exists():
            copy.write_bytes(file.read_bytes())
        with pytest.raises(UserError, match=message):
            merged_model(copy)
