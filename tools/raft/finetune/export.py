"""Write dataset and configuration for training elsewhere: with TRL, Axolotl, LLaMA-Factory or Unsloth."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..choices import Trainer
from ..dataset.validate_chats import row_sequences
from ..errors import UserError
from ..files import read_jsonl, write_json, write_jsonl
from .backend import FineTuneSpec
from .training_files import check_files, has_rows
from .trl.config import (
    BATCH,
    DATA,
    LEARNING_RATE,
    RANK,
    VALIDATIONS,
    read_overrides,
    script_of,
    trl_config,
    write_config,
    write_training,
)

EMBEDDED = "HuggingFaceTB/SmolLM2-135M-Instruct"  # the embedded model's name on the Hugging Face Hub
ADAPTER = "adapter"  # folder of the trained adapter, below that of the configuration
WARMUP = 0.05  # share of all steps


def export_training(tool: Trainer, spec: FineTuneSpec, out: Path) -> str:
    """Write out/data and out/TOOL.yaml; return the command that trains there.

    The rows are those of the training files: the same messages, the same prompts, a loss on the reply only.
    The paths are relative, so that `out` can be copied to another machine. Raises UserError for a dataset
    that must not be trained on and for settings that the tool does not have.
    """
    check_files(spec, hosted=False)
    model = _hub_name(spec.model)
    length = _longest_row(spec)
    out.mkdir(parents=True, exist_ok=True)
    if tool == "trl":
        config = trl_config(spec, model=model, data=DATA, out=ADAPTER, max_length=length, device="bf16")
        command = f"trl {script_of(config)} --config trl.yaml"
        write_training(spec, out, config)
    else:
        if spec.method == "dpo":
            raise UserError(f"--export {tool} writes single answers: for --method dpo use --export trl")
        if spec.api == "completion":
            raise UserError(
                f"--export {tool} takes chats: leave out --format completion, or use --export trl"
            )
        write, command = {
            "axolotl": (_axolotl, "axolotl train axolotl.yaml"),
            "llama-factory": (_llama_factory, "llamafactory-cli train llama-factory.yaml"),
            "unsloth": (_unsloth, "unsloth train --config unsloth.yaml"),
        }[tool]
        _write_chats(spec, out)
        config = write(spec, model, length, out) | read_overrides(spec)
    write_config(
        config,
        out / f"{tool}.yaml",
        f"Run here: {command}",
        f"The longest row has at most about {length:,} tokens (a token taken as two bytes).",
    )
    return f"cd {shlex.quote(str(out))} && {command}"


def _axolotl(spec: FineTuneSpec, model: str, length: int, out: Path) -> dict[str, Any]:
    """Return a configuration of Axolotl (https://docs.axolotl.ai/docs/config-reference.html).

    Rows: type chat_template (https://docs.axolotl.ai/docs/dataset-formats/conversation.html); one that is too
    long stops the run, by default it would be dropped.
    """

    def chats(part: str) -> dict[str, Any]:
        return {
            "path": f"{DATA}/{part}.jsonl",
            "ds_type": "json",
            "split": "train",
            "type": "chat_template",
            "field_messages": "messages",
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }

    config: dict[str, Any] = {
        "base_model": model,
        "chat_template": "tokenizer_default",
        "datasets": [chats("train")],
        "dataset_prepared_path": "prepared",
        "sequence_len": length,
        "excess_length_strategy": "raise",
        "adapter": "qlora" if spec.quantize == "4bit" else "lora",
        "load_in_4bit": spec.quantize == "4bit",
        "load_in_8bit": spec.quantize == "8bit",
        "lora_r": spec.rank or RANK,
        "lora_alpha": 2 * (spec.rank or RANK),
        "lora_dropout": 0.0,
        "lora_target_linear": True,
        "num_epochs": spec.epochs,
        "learning_rate": spec.learning_rate or LEARNING_RATE,
        "lr_scheduler": "cosine",
        "warmup_ratio": WARMUP,
        "optimizer": "adamw_torch_fused",
        "micro_batch_size": 1,
        "gradient_accumulation_steps": spec.batch_size or BATCH,
        "gradient_checkpointing": True,
        "bf16": "auto",
        "logging_steps": 1,
        "saves_per_epoch": VALIDATIONS,
        "save_total_limit": 2,
        "output_dir": ADAPTER,
        "seed": spec.seed,
    }
    if has_rows(spec.file("valid")):
        config |= {
            "test_datasets": [chats("valid")],
            "evals_per_epoch": VALIDATIONS,
            "load_best_model_at_end": True,
        }
    return config


def _llama_factory(spec: FineTuneSpec, model: str, length: int, out: Path) -> dict[str, Any]:
    """Write data/dataset_info.json and return a configuration of LLaMA-Factory.

    Rows: "sharegpt" with the roles of OpenAI's format, as in
    https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md. Without `template`, the chat template
    is that of the model's tokenizer (`get_template_and_fix_tokenizer`, llamafactory 0.9.5).
    """
    tags = {
        "role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
        "system_tag": "system",
    }  # fmt: skip
    parts = [part for part in ("train", "valid") if has_rows(spec.file(part))]
    described = {
        f"raft_{part}": {
            "file_name": f"{part}.jsonl",
            "formatting": "sharegpt",
            "columns": {"messages": "messages"},
            "tags": tags,
        }
        for part in parts
    }
    write_json(out / DATA / "dataset_info.json", described)
    share = min(0.5, round(1 / (VALIDATIONS * spec.epochs), 4)) if spec.epochs else 0.5
    config: dict[str, Any] = {
        "model_name_or_path": model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": spec.rank or RANK,
        "lora_alpha": 2 * (spec.rank or RANK),
        "lora_target": "all",
        "dataset_dir": DATA,
        "dataset": "raft_train",
        "cutoff_len": length,
        "num_train_epochs": spec.epochs,
        "learning_rate": spec.learning_rate or LEARNING_RATE,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": WARMUP,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": spec.batch_size or BATCH,
        "bf16": True,
        "logging_steps": 1,
        "save_steps": share,
        "save_total_limit": 2,
        "output_dir": ADAPTER,
        "report_to": "none",
        "seed": spec.seed,
    }
    if "valid" in parts:
        config |= {
            "eval_dataset": "raft_valid",
            "per_device_eval_batch_size": 1,
            "eval_strategy": "steps",
            "eval_steps": share,
            "load_best_model_at_end": True,
        }
    if spec.quantize != "none":
        config |= {"quantization_bit": int(spec.quantize[0]), "quantization_method": "bnb"}
    return config


def _unsloth(spec: FineTuneSpec, model: str, length: int, out: Path) -> dict[str, Any]:
    """Return a configuration of `unsloth train` (class Config of unsloth_cli/config.py, unsloth 2026.10.9).

    Rows: chats with role and content, "chatml" there; `train_on_completions` is a loss on the reply only.
    There is no validation. The output folder is relative to Unsloth's own.
    """
    if spec.quantize == "8bit":
        raise UserError("--export unsloth: the base model can be quantized to 4bit only")
    if spec.epochs < 1 or spec.epochs % 1:
        raise UserError("--export unsloth: --epochs has to be a whole number")
    batch, rank = spec.batch_size or BATCH, spec.rank or RANK
    steps = math.ceil(sum(1 for _ in _chats(spec.file("train"))) / batch) * spec.epochs
    return {
        "model": model,
        "data": {"local_dataset": [f"{DATA}/train.jsonl"], "format_type": "chatml"},
        "training": {
            "training_type": "lora",
            "load_in_4bit": spec.quantize == "4bit",
            "max_seq_length": length,
            "output_dir": "raft",
            "num_epochs": int(spec.epochs),
            "learning_rate": spec.learning_rate or LEARNING_RATE,
            "batch_size": 1,
            "gradient_accumulation_steps": batch,
            "warmup_steps": max(1, round(WARMUP * steps)),
            "weight_decay": 0.0,
            "random_seed": spec.seed,
            "train_on_completions": True,
        },
        "lora": {"lora_r": rank, "lora_alpha": 2 * rank},
    }


def _write_chats(spec: FineTuneSpec, out: Path) -> None:
    """Write the training files as out/data/train.jsonl and valid.jsonl, messages only."""
    for part in ("train", "valid"):
        path = out / DATA / f"{part}.jsonl"
        if has_rows(spec.file(part)):
            write_jsonl(path, _chats(spec.file(part)))
        else:
            path.unlink(missing_ok=True)


def _chats(path: Path) -> Iterator[dict[str, Any]]:
    for _, row in read_jsonl(path):
        yield {"messages": [{"role": each["role"], "content": each["content"]} for each in row["messages"]]}


def _hub_name(model: str) -> str:
    """Return the name of a model on the Hugging Face Hub, or the absolute path of its folder here."""
    if model in ("", "embedded"):
        return EMBEDDED
    if model.endswith(".gguf"):
        raise UserError(
            f"{model}: these tools train Hugging Face models: name one (OWNER/NAME) or its folder"
        )
    return str(Path(model).resolve()) if Path(model).exists() else model


def _longest_row(spec: FineTuneSpec) -> int:
    """Return a limit in tokens that cuts no row; a token is taken as two bytes, an overestimate."""
    longest = 0
    for path in filter(has_rows, (spec.file("train"), spec.file("valid"))):
        for _, row in read_jsonl(path):
            for texts in row_sequences(row):
                longest = max(longest, len("".join(texts).encode("utf-8")))
    return 256 * math.ceil((longest / 2 + 64) / 256)
