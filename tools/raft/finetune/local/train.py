"""Train a LoRA adapter on this machine: packs in; adapter, checkpoint and log out."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, TypedDict

from ...files import json_line, replacing
from .lora import add_lora, load_adapter, save_adapter
from .pack import Pack, pack_loss

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines a training run except its rows and its model."""

    epochs: float = 3.0
    learning_rate: float = 5e-4
    rank: int = 16
    batch: int = 4  # examples per step
    seed: int = 42
    patience: int = 4  # validations without improvement before training stops
    validations: int = 4  # per epoch


class Step(TypedDict):
    """One line of the log. Losses are means per token; seconds include the time before a resume."""

    step: int
    steps: int
    train_loss: float
    valid_loss: float | None
    learning_rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """The outcome of a training run."""

    folder: Path  # holds adapter_config.json and adapter_model.safetensors of the best validation
    steps: int
    valid_loss: float | None
    tokens: int
    seconds: float
    stopped_early: bool


def train_adapter(
    model: Any,
    train: Sequence[Pack],
    valid: Sequence[Pack],
    folder: Path,
    config: TrainingConfig,
    *,
    start: Mapping[str, Any] | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> TrainingResult:
    """Train LoRA pairs in `model` on packs, and save the best adapter to `folder` in PEFT's format.

    model: a transformers model in bfloat16 or float32; it is frozen and changed in place. A step takes
    about `config.batch` examples, and its loss is the mean per token. The learning rate warms up, then
    decays along a half cosine (Loshchilov & Hutter 2017). The model is validated `config.validations` times
    per epoch; without validation packs the last adapter is saved. An interrupted run resumes from its last
    validation with the same result. start: the pairs of an adapter to start from.
    """
    import torch

    torch.manual_seed(config.seed)
    layers = adapt_model(model, config.rank)
    if start:
        load_adapter(layers, start)
    folder.mkdir(parents=True, exist_ok=True)
    # bfloat16 would round small updates away: the optimiser updates float32 masters, the model uses copies.
    weights = [p for layer in layers.values() for p in (layer.lora_a, layer.lora_b)]
    masters = [p.detach().float().clone() for p in weights]
    optimiser = torch.optim.AdamW(masters, lr=config.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    steps_per_epoch = max(1, sum(1 for _ in epoch_batches(train, config, 0)))
    steps = count_steps(config.epochs, steps_per_epoch)
    validate_every = steps_per_validation(config.validations, steps_per_epoch)

    progress = load_checkpoint(folder, masters, optimiser, config)
    step, tokens, best_loss, stale = progress.step, progress.tokens, progress.best, progress.without
    _copy(masters, weights)
    started = time.monotonic() - progress.seconds
    log = (folder / LOG).open("a" if step else "w", encoding="utf-8")
    with log:
        batches = islice(_all_batches(train, config), step, None)
        while step < steps and stale < config.patience:
            batch = next(batches)
            rate = config.learning_rate * lr_schedule(step, steps)
            loss = training_step(model, batch, weights, masters, optimiser, rate)
            step += 1
            tokens += sum(len(pack.tokens) for pack in batch)
            validates = step % validate_every == 0 or step == steps
            valid_loss = mean_loss(model, valid) if validates and valid else None
            line: Step = {
                "step": step,
                "steps": steps,
                "train_loss": round(loss, 5),
                "valid_loss": valid_loss,
                "learning_rate": rate,
                "tokens": tokens,
                "seconds": round(time.monotonic() - started, 2),
            }
            log.write(json_line(line))
            log.flush()
            # After the log: a training that is killed in between repeats the step, and its line is trimmed.
            if validates:
                if valid_loss is None or best_loss is None or valid_loss < best_loss:
                    best_loss, stale = valid_loss, 0
                    save_adapter(layers, masters, config.rank, folder)
                else:
                    stale += 1
                progress = _Progress(step, tokens, time.monotonic() - started, best_loss, stale)
                save_checkpoint(folder, masters, optimiser, config, progress)
            on_step(line)
    return TrainingResult(folder, step, best_loss, tokens, time.monotonic() - started, step < steps)


def adapt_model(model: Any, rank: int) -> dict[str, Any]:
    """Freeze a model, add LoRA pairs, and prepare its blocks for training; return the layers with pairs."""
    import torch

    from .block import fuse_blocks
    from .recompute import recompute_long_packs

    layers = add_lora(model, rank)
    # In bfloat16, merging the pairs into the weights would round their changes away.
    fused = model.device.type == "cpu" and model.dtype == torch.float32 and fuse_blocks(model)
    if not fused:
        recompute_long_packs(model)
    return layers


def mean_loss(model: Any, packs: Sequence[Pack]) -> float:
    """Compute the mean loss per token over packs, without gradients."""
    import torch

    with torch.no_grad():
        total = sum(float(pack_loss(model, pack)) for pack in packs)
    return round(total / sum(pack.weight for pack in packs), 5)


def training_step(
    model: Any,
    batch: Sequence[Pack],
    weights: Sequence[Any],
    masters: Sequence[Any],
    optimiser: Any,
    rate: float,
) -> float:
    """Take one optimiser step on a batch; return its mean loss per token."""
    import torch

    weight_sum, total = sum(pack.weight for pack in batch), 0.0
    for pack in batch:
        loss = pack_loss(model, pack) / weight_sum
        loss.backward()
        total += loss.item()
    for master, weight in zip(masters, weights, strict=True):
        master.grad, weight.grad = weight.grad.float(), None
    torch.nn.utils.clip_grad_norm_(masters, 1.0)
    for group in optimiser.param_groups:
        group["lr"] = rate
    optimiser.step()
    _copy(masters, weights)
    return total


def count_steps(epochs: float, steps_per_epoch: int) -> int:
    """Return the number of steps of a training, at least one."""
    return max(1, math.ceil(epochs * steps_per_epoch))


def steps_per_validation(validations: int, steps_per_epoch: int) -> int:
    """Return after how many steps the model is validated, `validations` times per epoch if that many."""
    return max(1, steps_per_epoch // validations)


def lr_schedule(step: int, steps: int) -> float:
    """Return the learning-rate factor at a step: linear warm-up over 5 % of all, half cosine down to 5 %."""
    warmup = max(1, steps // 20)
    return min((step + 1) / warmup, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def epoch_batches(train: Sequence[Pack], config: TrainingConfig, epoch: int) -> Iterator[list[Pack]]:
    """Yield the batches of an epoch: shuffled packs, at least `config.batch` examples each but the last."""
    shuffled = list(train)
    random.Random(f"{config.seed} epoch {epoch}").shuffle(shuffled)
    batch: list[Pack] = []
    for pack in shuffled:
        batch.append(pack)
        if sum(pack.examples for pack in batch) >= config.batch:
            yield batch
            batch = []
    if batch:
        yield batch


def _all_batches(train: Sequence[Pack], config: TrainingConfig) -> Iterator[list[Pack]]:
    for epoch in count():
        yield from epoch_batches(train, config, epoch)


def _copy(masters: Sequence[Any], weights: Sequence[Any]) -> None:
    import torch

    with torch.no_grad():
        for master, weight in zip(masters, weights, strict=True):
            weight.copy_(master)


@dataclass(frozen=True)
class _Progress:
    """The progress of a training run; checkpoints store its fields under these names."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None  # validation loss
    without: int = 0  # validations since the best one


def save_checkpoint(
    folder: Path, masters: Sequence[Any], optimiser: Any, config: TrainingConfig, progress: _Progress
) -> None:
    """Write a checkpoint atomically; it is tensors and JSON, so loading it runs no code."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for i, master in enumerate(masters):
        state = optimiser.state[master]
        tensors |= {f"{i}": master, f"{i}.mean": state["exp_avg"], f"{i}.square": state["exp_avg_sq"]}
    metadata = {"recipe": json.dumps(asdict(config)), "done": json.dumps(asdict(progress))}
    with replacing(folder / CHECKPOINT) as staging:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        save_file(tensors, str(staging), metadata)


def load_checkpoint(
    folder: Path, masters: Sequence[Any], optimiser: Any, config: TrainingConfig
) -> _Progress:
    """Restore weights and optimiser from the folder's checkpoint; a new _Progress if there is none to use.

    A checkpoint of another config is ignored. Log lines after the checkpoint are removed.
    """
    import torch
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return _Progress()
    try:
        with safe_open(str(path), framework="pt") as file, torch.no_grad():
            metadata = file.metadata() or {}
            if json.loads(metadata.get("recipe", "{}")) != asdict(config):
                return _Progress()
            progress = _Progress(**json.loads(metadata["done"]))
            # All is read before anything is restored: training starts anew if a tensor is missing.
            tensors = [
                [file.get_tensor(f"{i}{part}") for part in ("", ".mean", ".square")]
                for i in range(len(masters))
            ]
            for master, (weight, mean, square) in zip(masters, tensors, strict=True):
                master.copy_(weight)
                optimiser.state[master] = {
                    "step": torch.tensor(float(progress.step)),
                    "exp_avg": mean.to(master.device),
                    "exp_avg_sq": square.to(master.device),
                }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return _Progress()  # a damaged checkpoint costs its steps, nothing else
    _trim_log(folder / LOG, progress.step)
    return progress


def _trim_log(log: Path, step: int) -> None:
    """Remove the steps after the checkpoint from the log: they will be repeated."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        log.write_text("".join(lines[:step]), encoding="utf-8")
