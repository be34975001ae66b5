"""Run TRL's own script, `sft` or `dpo`, log its steps and record how it ended.

`accelerate launch` starts this module, `cluster` calls `train` in each process of a job.
"""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

from ...child import exit_with_parent
from ...errors import UserError, one_line
from ...files import json_line, read_log, read_object, write_json, write_text
from ...models.weights import ORDER
from ..backend import GGUF
from ..local.export_gguf import can_export, export_adapter
from ..local.train import LOG
from .config import CONFIG_FILE, OUTCOME, read_config, script_of
from .start import REFERENCE, START, start_from


def train(folder: Path, arguments: list[str], *, patience: int | None = None) -> None:
    """Train as folder/trl.yaml says, and write log, outcome and GGUF adapter to `folder`.

    `arguments` go to TRL's script as well. After `patience` validations without a lower loss, training stops.
    Raises UserError for settings that TRL does not have.
    """
    from transformers import EarlyStoppingCallback, trainer

    script = importlib.import_module(f"trl.scripts.{script_of(read_config(folder / CONFIG_FILE))}")
    if (folder / START).is_dir():
        start_from(folder / START)
    log = _step_log(folder)
    # The script creates the trainer itself; these callbacks are in every trainer.
    callbacks: list[Any] = trainer.DEFAULT_CALLBACKS
    callbacks.append(log)
    if patience:
        callbacks.append(EarlyStoppingCallback(patience))
    parser = script.make_parser()
    try:
        config = parser.parse_args_and_config(["--config", str(folder / CONFIG_FILE), *arguments])
    except ValueError as error:
        raise UserError(f"TRL refuses the settings: {one_line(error)}") from None
    script.main(*config)
    if not _is_first_process():
        return
    shutil.rmtree(folder / REFERENCE, ignore_errors=True)
    last = read_log(folder / LOG)[-1:] or [{}]
    outcome = {name: last[0].get(name) for name in ("tokens", "seconds")}
    base = _model_folder(config[2].model_name_or_path)
    if can_export(base):
        export_adapter(Path(config[1].output_dir), folder / GGUF, base=base)
    write_json(folder / OUTCOME, {**outcome, "valid_loss": log.best, "model": base.name})


def _model_folder(model: str) -> Path:
    """Return the folder of a model, in the cache if it came from the Hub."""
    if Path(model).is_dir():
        return Path(model)
    from transformers.utils.hub import cached_file

    return Path(str(cached_file(model, "config.json"))).parent


def _is_first_process() -> bool:
    """Return whether this is the process that writes, among those of several devices."""
    return os.environ.get("RANK", "0") == "0"


def _step_log(folder: Path) -> Any:
    """Return a callback that appends each logged step to the job's log, in the form of `local.train.Step`."""
    from transformers import TrainerCallback

    class StepLog(TrainerCallback):
        def __init__(self) -> None:
            self.best: float | None = None
            self.line: dict[str, Any] = {"train_loss": None, "learning_rate": 0.0, "tokens": 0}

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.is_world_process_zero:
                # Steps after the checkpoint are repeated.
                kept = [line for line in read_log(folder / LOG) if line["step"] <= state.global_step]
                write_text(folder / LOG, "".join(map(json_line, kept)))
                before = kept[-1] if kept else {"seconds": 0.0, "tokens": 0}
                self.started = time.monotonic() - before["seconds"]
                self.tokens = before["tokens"]
            # The state names the best checkpoint by its path, but a job that is run again may have its
            # outputs mounted elsewhere: killed after its last save, it would take the last for the best.
            best = Path(args.output_dir) / f"checkpoint-{state.best_global_step}"
            if best.is_dir():
                state.best_model_checkpoint = str(best)

        def on_log(self, args: Any, state: Any, control: Any, **given: Any) -> None:
            logs = given["logs"]
            if not state.is_world_process_zero or not {"loss", "eval_loss"} & logs.keys():
                return
            if "loss" in logs:
                self.line |= {"train_loss": round(logs["loss"], 5), "learning_rate": logs["learning_rate"]}
                self.line["tokens"] = self.tokens + int(logs.get("num_tokens", 0))
            # Of pairs: by how much more the model prefers the right answer than it did before.
            for name, field in (("rewards/margins", "margin"), ("eval_rewards/margins", "valid_margin")):
                if name in logs:
                    self.line[field] = round(logs[name], 5)
            loss = logs.get("eval_loss")
            line = {
                "step": state.global_step,
                "steps": state.max_steps,
                **self.line,
                "valid_loss": None if loss is None else round(loss, 5),
                "seconds": round(time.monotonic() - self.started, 2),
            }
            with (folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json_line(line))

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            # The log of a cluster's node goes with its checkpoints: the storage behind them may not append.
            if state.is_world_process_zero and Path(args.output_dir) != folder:
                shutil.copyfile(folder / LOG, Path(args.output_dir) / LOG)

        def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.best = state.best_metric

    return StepLog()


def _main(folder: Path, arguments: list[str]) -> None:
    """Train, and leave a failure as one line; exit when the parent process ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    exit_with_parent()
    try:
        train(folder, arguments, patience=read_object(folder / ORDER).get("patience"))
    except Exception as error:
        if _is_first_process():
            write_json(folder / OUTCOME, {"error": f"{one_line(error)} (see {folder / 'train.err'})"})
        raise


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
