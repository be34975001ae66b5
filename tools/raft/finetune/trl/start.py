"""Train on pairs from where an earlier training ended: its adapter goes on, a copy of it is the reference."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import read_object
from ...models.weights import adapted_model, find_base
from ..backend import CONFIG, WEIGHTS, FineTuneSpec

START = "start"  # folder of the adapter to start from, a copy
REFERENCE = "ref"  # TRL's name of the adapter that it keeps as the reference


def find_start(spec: FineTuneSpec) -> Path | None:
    """Return the folder of the adapter that a training on pairs starts from, None if it names a base model.

    Raises UserError if the adapter's rank is another than the spec's.
    """
    folder = Path(spec.model)
    if spec.method != "dpo" or not (folder / CONFIG).is_file():
        return None
    rank = int(read_object(folder / CONFIG).get("r", 0))
    if spec.rank not in (None, rank):
        raise UserError(f"{folder} holds an adapter of rank {rank}, which cannot be changed: omit --rank")
    return folder


def base_of(adapter: Path) -> str:
    """Return the model that an adapter was trained for: a path, or a name on the Hub."""
    base = adapted_model(adapter)
    return str(find_base(base)) if Path(base).exists() else base


def copy_start(adapter: Path | None, folder: Path) -> None:
    """Copy the adapter to start from into a job's folder; without one, remove that of an earlier job."""
    shutil.rmtree(folder / START, ignore_errors=True)
    if adapter:
        (folder / START).mkdir(parents=True)
        for name in (CONFIG, WEIGHTS):
            shutil.copy(adapter / name, folder / START / name)


def start_from(adapter: Path) -> None:
    """Have TRL's `dpo` script train an adapter on; its trainer makes a copy of it the reference.

    The script itself knows only how to add a new adapter to a base model.
    """
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    trl: Any = import_module("trl")  # its script looks the trainer up in it

    class Continued(trl.DPOTrainer):
        def __init__(
            self,
            model: str,
            args: Any,
            quantization_config: Any = None,
            peft_config: Any = None,
            **given: Any,
        ) -> None:
            settings, args.model_init_kwargs = args.model_init_kwargs, None
            if quantization_config is not None:
                settings |= {"quantization_config": quantization_config}
            base = AutoModelForCausalLM.from_pretrained(model, **settings)
            super().__init__(PeftModel.from_pretrained(base, adapter, is_trainable=True), args=args, **given)

    trl.DPOTrainer = Continued
