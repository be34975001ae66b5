"""Fine-tune any Hugging Face causal model with TRL on this machine's GPUs (or, slowly, on its CPU).

TRL's own script trains, `sft` or `dpo`, started by `accelerate launch` with the configuration in the job's
folder; `trl sft --config FILE` or `trl dpo --config FILE` takes the same file.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...child import start_child
from ...errors import UserError, one_line
from ...files import read_jsonl, read_object
from ...models.weights import default_model, pretrained_source
from ..backend import CONFIG, GGUF, Estimate, FineTuneSpec, Result
from ..lengths import Lengths, Row, compare_lengths, refuse_long
from ..local.backend import LocalBackend
from ..local.load import load_model
from ..training_files import check_files, count_tokens, has_rows
from .config import DATA, read_overrides, to_trl, trl_config, write_training
from .start import base_of, copy_start, find_start

PACKAGES = ("trl", "accelerate", "datasets", "peft")
BITSANDBYTES = "bitsandbytes==0.50.2"
BASE = "base"  # folder of a GGUF model in transformers' form
CACHE = ".cache"  # folder of the tokenised rows


class TrlBackend(LocalBackend):
    """The backend `trl`: a local training whose child process is TRL's, with checkpoints of TRL's."""

    name = "trl"

    def check(self, spec: FineTuneSpec, *, skip_long: bool = False) -> Lengths:
        """Raise UserError if packages or the model are missing, or the dataset must not be trained on.

        Rows longer than the model's context are an error unless they are skipped: TRL itself would silently
        cut off their end, which is the answer.
        """
        check_packages(spec)
        read_overrides(spec)
        check_files(spec, hosted=False)
        if spec.patience is not None and not has_rows(spec.file("valid")):
            raise UserError(f"--patience needs rows to validate on: {spec.file('valid')} has none")
        lengths = measure_rows(spec)
        if not skip_long:
            refuse_long(lengths)
        return lengths

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Estimate the tokens; the cost is zero."""
        return Estimate(count_tokens(spec), 0.0, "on this machine, with TRL")

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Write dataset and configuration, and start the training in a child process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self.find(spec):
            for stale in [*self._folder.glob("checkpoint-*"), self._folder / BASE]:
                shutil.rmtree(stale, ignore_errors=True)
        prepare(spec, self._folder.resolve(), out=self._folder.resolve())
        return super().submit(spec, on_step)

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Return the adapter and, if it was exported as GGUF, a connection for the served model."""
        shutil.rmtree(self._folder / CACHE, ignore_errors=True)
        result = super().result(spec, job, out)
        if GGUF not in result["files"]:
            (out / "connection.yaml").unlink()
            result["connection"] = None
        return result

    def _start(self) -> None:
        folder = self._folder.resolve()
        checkpoint = last_checkpoint(folder)
        resume = ["--resume_from_checkpoint", str(checkpoint)] if checkpoint else []
        with (self._folder / "train.err").open("w", encoding="utf-8") as errors:
            self._worker = start_child(
                "accelerate.commands.launch",
                "--module",
                "tools.raft.finetune.trl.train",
                str(folder),
                *resume,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "HF_DATASETS_CACHE": str(folder / CACHE)},
            )


def prepare(spec: FineTuneSpec, folder: Path, *, out: Path, processes: int = 1) -> None:
    """Write the rows and the configuration of a training to `folder`; its results go to `out`."""
    base = _base(spec)
    longest = measure_rows(spec).longest
    if base.endswith(".gguf"):
        base = convert_gguf(Path(base), folder / BASE)
    config = trl_config(
        spec,
        model=base,
        data=str(folder / DATA),
        out=str(out),
        max_length=longest.tokens if longest else 0,
        device=find_device(),
        processes=processes,
    )
    write_training(spec, folder, config)
    copy_start(find_start(spec), folder)


def check_packages(spec: FineTuneSpec) -> None:
    """Raise UserError if what TRL needs is not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--backend trl needs {', '.join(missing)}; run: pip install -r requirements-trl.txt")
    if spec.quantize != "none" and importlib.util.find_spec("bitsandbytes") is None:
        raise UserError(f"--quantize needs bitsandbytes; run: pip install {BITSANDBYTES}")


def find_base(model: str) -> str:
    """Return what TRL loads, or a GGUF file to convert first: a path, or a name on the Hugging Face Hub.

    Raises UserError for a path that does not exist and for an adapter, which TRL's script cannot continue.
    """
    if model in ("", "embedded"):
        return str(default_model())
    path = Path(model)
    if (path / CONFIG).is_file():
        raise UserError(
            f"{model} holds an adapter: --backend trl starts from a base model only, except with --method dpo"
        )
    if path.exists():
        return str(path.resolve())
    if model.count("/") != 1 or model.endswith(".gguf") or model.startswith((".", "~", "/")):
        raise UserError(
            f"there is no model {model}: use embedded, a GGUF file, a model folder or a name on the "
            "Hugging Face Hub (OWNER/NAME)"
        )
    return model


def _base(spec: FineTuneSpec) -> str:
    """Return what TRL loads, of an adapter to start from its base model."""
    start = find_start(spec)
    return find_base(base_of(start) if start else spec.model)


@lru_cache(maxsize=1)  # the check and the submission both need it, and from GGUF it takes seconds
def load_tokenizer(base: str) -> tuple[Any, int | None]:
    """Load the tokenizer of a model and its context in tokens, None if the model does not state it."""
    from transformers import AutoConfig, AutoTokenizer

    source = {"pretrained_model_name_or_path": base}
    if base.endswith(".gguf"):
        source = pretrained_source(Path(base))
    try:
        tokenizer = AutoTokenizer.from_pretrained(**source)
        config = AutoConfig.from_pretrained(**source).get_text_config()
    except (OSError, ValueError) as error:
        raise UserError(f"{base} cannot be loaded: {one_line(error)}") from None
    return tokenizer, getattr(config, "max_position_embeddings", None)


def measure_rows(spec: FineTuneSpec) -> Lengths:
    """Measure the rows that TRL is given, in the model's tokens. Raises UserError without a chat template."""
    tokenizer, context = load_tokenizer(_base(spec))
    if spec.api != "completion" and not tokenizer.chat_template:
        raise UserError(
            f"{spec.model} has no chat template: use generate and finetune with --format completion"
        )
    rows = (
        Row(path, line, _count(to_trl(row), tokenizer))
        for path in filter(has_rows, (spec.file("train"), spec.file("valid")))
        for line, row in read_jsonl(path)
    )
    return compare_lengths(rows, model=spec.model, context=context, exact=True)


def _count(row: dict[str, Any], tokenizer: Any) -> int:
    """Return the tokens of a row as TRL makes them of it; of a pair, those with the longer answer."""
    if "chosen" in row:
        both = [{"prompt": row["prompt"], "completion": row[name]} for name in ("chosen", "rejected")]
        return max(_count(each, tokenizer) for each in both)
    if isinstance(row["prompt"], str):
        return len(tokenizer(row["prompt"] + row["completion"] + tokenizer.eos_token).input_ids)
    text = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    return len(tokenizer(text, add_special_tokens=False).input_ids)


def find_device() -> str:
    """Return what this machine trains on: a GPU in "bf16" or "fp16", or "cpu"."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def last_checkpoint(folder: Path) -> Path | None:
    """Return the latest complete checkpoint; the Trainer writes the state of one last."""
    complete = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json") if read_object(path)]
    return max(complete, key=lambda path: int(path.name.partition("-")[2]), default=None)


def convert_gguf(base: Path, folder: Path) -> str:
    """Write a GGUF model as a transformers model in bfloat16; return its folder."""
    import torch
    from transformers import AutoModelForCausalLM

    if not (folder / "config.json").is_file():
        model, tokenizer = load_model(base)
        # A model loaded from GGUF counts as quantized and cannot be saved: its weights go into a plain one.
        config = model.config
        del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
        plain.load_state_dict(model.state_dict())
        staging = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(staging, ignore_errors=True)
        tokenizer.save_pretrained(staging)
        plain.save_pretrained(staging)
        staging.rename(folder)
    return str(folder.resolve())
