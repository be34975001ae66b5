"""Read the log of a training: its last step, its losses, its speed and how long the rest will take."""

from __future__ import annotations

import time
from pathlib import Path

from ...files import read_log
from ..backend import Status

WINDOW = 10  # steps at least that speed and rest are derived from; a quarter of all steps if that is more


def read_status(log: Path) -> Status:
    """Return the status of a training from its log, with the latest validation loss.

    Speed and remaining time follow the last quarter of the steps, which includes validations as often as the
    whole does: so they follow a machine that becomes busy, and steps of unequal size do not show.
    """
    steps = read_log(log)
    if not steps:
        return Status(state="running", message="", step=None, steps=None, metrics={})
    last = steps[-1]
    validated = [step["valid_loss"] for step in steps if step["valid_loss"] is not None]
    losses = {
        "train_loss": last["train_loss"],
        "valid_loss": validated[-1] if validated else None,
        "margin": last.get("margin"),  # of a training on pairs
    }
    metrics = {name: loss for name, loss in losses.items() if loss is not None}
    status = Status(state="running", message="", step=last["step"], steps=last["steps"], metrics=metrics)
    window = max(WINDOW, last["steps"] // 4)
    first = steps[-1 - window] if len(steps) > window else {"step": 0, "tokens": 0, "seconds": 0.0}
    done, seconds = last["step"] - first["step"], last["seconds"] - first["seconds"]
    if done > 0 and seconds > 0:
        status["tokens_per_second"] = (last["tokens"] - first["tokens"]) / seconds
        per_step = seconds / done
        under_way = min(per_step, max(0.0, time.time() - log.stat().st_mtime))  # of the step after the last
        status["seconds_left"] = max(0.0, (last["steps"] - last["step"]) * per_step - under_way)
    return status
