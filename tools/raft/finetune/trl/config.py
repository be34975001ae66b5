"""Write what `trl sft` and `trl dpo --config FILE` need: rows in TRL's form, and configuration as YAML."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_jsonl, write_jsonl, write_text
from ..backend import FineTuneSpec
from ..training_files import has_rows

CONFIG_FILE = "trl.yaml"
OUTCOME = "trained.json"  # how a training ended, as LocalBackend reads it
DATA = "data"  # folder of train.jsonl and validation.jsonl, the names that `datasets` makes splits of
LEARNING_RATE, RANK, BATCH = 2e-4, 16, 4
# For pairs: the rate is that of TRL's example with LoRA (trl/scripts/dpo.py, 1.16), beta its default.
PAIRS_RATE, BETA = 5e-6, 0.1
VALIDATIONS = 4  # per epoch


def write_training(spec: FineTuneSpec, folder: Path, config: dict[str, Any]) -> None:
    """Write the rows of a spec to folder/data, and the configuration to folder/trl.yaml."""
    for part, name in (("train", "train"), ("valid", "validation")):
        path = folder / DATA / f"{name}.jsonl"
        if has_rows(spec.file(part)):
            write_jsonl(path, (to_trl(row) for _, row in read_jsonl(spec.file(part))))
        else:
            path.unlink(missing_ok=True)
    write_config(config, folder / CONFIG_FILE)


def to_trl(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row in TRL's form; the messages have role and content only.

    A chat or a completion becomes prompt and completion, of which TRL learns the completion. A pair becomes
    prompt, chosen and rejected (https://huggingface.co/docs/trl/dataset_formats, "Preference").

    Of a chat, the last message is the completion. The other way, `assistant_only_loss`, needs a chat template
    with {% generation %} markers, which most models lack (https://huggingface.co/docs/trl/sft_trainer, "Train
    on completion only" and "Train on assistant messages only").
    """
    if "preferred_output" in row:
        return {
            "prompt": _plain(row["input"]["messages"]),
            "chosen": _plain(row["preferred_output"]),
            "rejected": _plain(row["non_preferred_output"]),
        }
    if "messages" not in row:
        return {"prompt": row["prompt"], "completion": row["completion"]}
    messages = _plain(row["messages"])
    return {"prompt": messages[:-1], "completion": messages[-1:]}


def _plain(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"role": each["role"], "content": each["content"]} for each in messages]


def script_of(config: dict[str, Any]) -> str:
    """Return which script of TRL takes these settings."""
    return "dpo" if "beta" in config else "sft"


def trl_config(
    spec: FineTuneSpec, *, model: str, data: str, out: str, max_length: int, device: str, processes: int = 1
) -> dict[str, Any]:
    """Return the settings of a LoRA training on all linear layers, under TRL's names.

    On pairs it is Direct Preference Optimization (Rafailov et al. 2023, arXiv 2305.18290); the reference is
    the model without the adapter.

    device: "bf16" or "fp16" (a GPU that computes in this type) or "cpu". max_length: of a row, or of a pack,
    in tokens. processes: that share the rows of a step. The spec's overrides come last. Raises UserError for
    one that is not KEY=VALUE, and for a batch size that the processes cannot share.
    """
    precision = {
        "bf16": {"dtype": "bfloat16", "bf16": True},
        "fp16": {"dtype": "float16", "fp16": True},
        "cpu": {"dtype": "float32", "bf16": False, "use_cpu": True},
    }
    validates = has_rows(spec.file("valid"))
    on_pairs = spec.method == "dpo"
    share = min(0.5, round(1 / (VALIDATIONS * spec.epochs), 4)) if spec.epochs else 0.5  # of all steps
    config: dict[str, Any] = {
        "model_name_or_path": model,
        **precision[device],
        "dataset_name": data,
        "dataset_test_split": "validation" if validates else None,
        "output_dir": out,
        "max_length": max_length,
        "use_peft": True,
        "lora_r": spec.rank or RANK,
        "lora_alpha": 2 * (spec.rank or RANK),
        "lora_dropout": 0.0,
        "lora_target_modules": ["all-linear"],
        "num_train_epochs": spec.epochs,
        "learning_rate": spec.learning_rate or (PAIRS_RATE if on_pairs else LEARNING_RATE),
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,  # a share of all steps
        "per_device_train_batch_size": 1,
        "per_device_eval_batch_size": 1,
        "gradient_accumulation_steps": share_batch(spec.batch_size, processes),
        "gradient_checkpointing": device != "cpu",
        "eval_strategy": "steps" if validates else "no",
        "eval_steps": share if validates else None,
        "save_strategy": "steps",
        "save_steps": share,
        "save_total_limit": 2,
        "load_best_model_at_end": validates,
        # The validations without a lower loss are counted on when a training is resumed.
        "restore_callback_states_from_checkpoint": True if spec.patience else None,
        "logging_steps": 1,
        "report_to": "none",
        "seed": spec.seed,
        "beta": (BETA if spec.beta is None else spec.beta) if on_pairs else None,
    }
    if spec.quantize == "4bit":  # QLoRA (Dettmers et al. 2023, arXiv 2305.14314)
        config |= {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "use_bnb_nested_quant": True}
    elif spec.quantize == "8bit":
        config |= {"load_in_8bit": True}
    given = {name: value for name, value in config.items() if value is not None}
    return given | read_overrides(spec)


def share_batch(batch: int | None, processes: int) -> int:
    """Return the rows of a step that each process takes: together they take `batch`, or BATCH or a few more.

    Raises UserError for a batch size that the processes cannot share.
    """
    if batch is None:
        return math.ceil(BATCH / processes)
    if batch % processes:
        raise UserError(
            f"--batch-size {batch} cannot be shared by {processes} processes: "
            f"use {processes * math.ceil(batch / processes)}"
        )
    return batch // processes


def read_overrides(spec: FineTuneSpec) -> dict[str, Any]:
    """Return the spec's overrides, KEY=VALUE with a value in YAML, as a mapping."""
    import yaml

    overrides = {}
    for text in spec.overrides:
        key, equals, value = text.partition("=")
        try:
            overrides[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not equals or not key.strip().isidentifier():
            raise UserError(f"--set {text}: write KEY=VALUE, such as packing=true")
    return overrides


def write_config(config: dict[str, Any], path: Path, *comments: str) -> None:
    """Write settings as YAML in their order, below the comment lines."""
    import yaml

    head = "".join(f"# {comment}\n" for comment in comments)
    write_text(path, head + yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def read_config(path: Path) -> dict[str, Any]:
    """Read settings that `write_config` wrote."""
    import yaml

    return dict(yaml.safe_load(path.read_text(encoding="utf-8")))
