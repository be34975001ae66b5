"""The context of a GGUF model, read from the start of its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.models.gguf_header import context_length
from tools.raft.models.weights import default_model


def write_gguf(path: Path, context: int | None) -> Path:
    """Write a GGUF file whose context comes after values of every type, as the order is not fixed."""
    from gguf import GGUFValueType, GGUFWriter

    writer = GGUFWriter(str(path), "qwen3")
    writer.add_array("tokenizer.ggml.tokens", ["a", "käse", "東京"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.5, 2.5])
    writer.add_array("tokenizer.ggml.flags", [True, False])
    writer.add_key_value("x.double", 1.0, GGUFValueType.FLOAT64)
    writer.add_bool("x.bool", True)
    writer.add_uint8("x.small", 7)
    if context:
        writer.add_context_length(context)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_reads_the_context_of_a_model(tmp_path: Path) -> None:
    assert context_length(write_gguf(tmp_path / "a.gguf", 40_960)) == 40_960
    assert context_length(write_gguf(tmp_path / "b.gguf", None)) is None
    assert context_length(default_model()) == 8_192


def test_refuses_what_is_not_a_model(tmp_path: Path) -> None:
    whole = write_gguf(tmp_path / "a.gguf", 4096).read_bytes()
    for content in (b"", b"GGUF", whole[:60], b"PK\x03\x04" * 40):
        path = tmp_path / "bad.gguf"
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"bad\.gguf is not a GGUF model, or a damaged one"):
            context_length(path)
