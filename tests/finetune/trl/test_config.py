"""The rows and the configuration for TRL, without TRL."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.trl.config import to_trl, trl_config, write_training

CHAT = [
    {"role": "system", "content": "Answer from the documents."},
    {"role": "user", "content": "<DOCUMENT>Die Tür ist rot.</DOCUMENT>\nWelche Farbe?"},
    {"role": "assistant", "content": "##begin_quote##Die Tür ist rot.##end_quote##\n<ANSWER>: rot"},
]


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    line = json.dumps({"messages": CHAT}, ensure_ascii=False) + "\n"
    (tmp_path / "train.chat.jsonl").write_text(line * 2, encoding="utf-8")
    (tmp_path / "valid.chat.jsonl").write_text(line, encoding="utf-8")
    return FineTuneSpec(tmp_path, "owner/name", epochs=2)


def config_of(spec: FineTuneSpec, device: str = "bf16") -> dict:
    return trl_config(spec, model=spec.model, data="data", out="adapter", max_length=8192, device=device)


def test_the_last_message_of_a_chat_is_the_completion() -> None:
    assert to_trl({"messages": CHAT}) == {"prompt": CHAT[:-1], "completion": CHAT[-1:]}


def test_a_completion_row_keeps_its_texts() -> None:
    row = {"prompt": "Welche Farbe?", "completion": "<ANSWER>: rot"}
    assert to_trl(row) == row


def test_the_files_are_what_datasets_makes_splits_of(spec: FineTuneSpec, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_training(spec, out, config_of(spec))
    assert sorted(path.name for path in (out / "data").iterdir()) == ["train.jsonl", "validation.jsonl"]
    assert "Die Tür ist rot." in (out / "data" / "train.jsonl").read_text(encoding="utf-8")
    written = yaml.safe_load((out / "trl.yaml").read_text(encoding="utf-8"))
    assert written == config_of(spec)
    assert written["eval_steps"] == 0.125, "four validations per epoch"
    spec.file("valid").unlink()
    write_training(spec, out, config_of(spec))
    assert [path.name for path in (out / "data").iterdir()] == ["train.jsonl"], (
        "of the former rows, none stays"
    )
    assert config_of(spec)["eval_strategy"] == "no" and not config_of(spec)["load_best_model_at_end"]


def test_precision_and_checkpointing_follow_the_device(spec: FineTuneSpec) -> None:
    gpu, cpu = config_of(spec), config_of(spec, "cpu")
    assert (gpu["dtype"], gpu["bf16"], gpu["gradient_checkpointing"]) == ("bfloat16", True, True)
    assert (cpu["dtype"], cpu["bf16"], cpu["use_cpu"]) == ("float32", False, True)


def test_qlora_and_overrides(spec: FineTuneSpec) -> None:
    from dataclasses import replace

    changed = replace(spec, quantize="4bit", rank=8, overrides=("packing=true", "lora_alpha=8", "env={A: b}"))
    config = config_of(changed)
    assert config["load_in_4bit"] and config["bnb_4bit_quant_type"] == "nf4" and config["lora_r"] == 8
    assert config["packing"] is True and config["lora_alpha"] == 8 and config["env"] == {"A": "b"}
    for bad in ("packing", "=true", "a b=1", "packing=[1"):
        with pytest.raises(UserError, match="write KEY=VALUE"):
            config_of(replace(spec, overrides=(bad,)))
    assert len({spec.key, changed.key, replace(spec, quantize="8bit").key}) == 3


def test_a_job_of_an_earlier_version_keeps_its_key(spec: FineTuneSpec) -> None:
    assert spec.key == "250a9e15f8b2938c"
