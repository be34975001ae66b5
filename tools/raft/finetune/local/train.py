"""Train a LoRA adapter, here: examples in, adapter, checkpoint and log out."""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, TypedDict

from ...files import replacing
from .lora import add_lora, load_adapter, save_adapter
from .pack import Pack, pack_loss

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"


@dataclass(frozen=True)
class TrainingConfig:
    """What decides a training, beside its rows and its model."""

    epochs: float = 3.0
    learning_rate: float = 5e-4
    rank: int = 16
    batch: int = 4  # examples a step
    seed: int = 42
    patience: int = 4  # validations without a better loss, after which it stops
    validations: int = 4  # an epoch


class Step(TypedDict):
    """One line of the log. Losses are means a token; seconds count all sessions of the training."""

    step: int
    steps: int
    train_loss: float
    valid_loss: float | None
    learning_rate: float
    tokens: int
    seconds: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to."""

    folder: Path  # holds adapter_config.json and adapter_model.safetensors, of the best validation
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
    recipe: TrainingConfig,
    *,
    start: Path | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> TrainingResult:
    """Train LoRA pairs in `model` on packs and leave the best adapter in `folder`, as PEFT saves it.

    model: of transformers, in bfloat16 or float32; it is frozen and changed in place. Steps hold about
    `recipe.batch` examples each; the loss is a step's mean a token. The rate warms up and falls along a
    half cosine (Loshchilov & Hutter 2017). Validated a few times an epoch; without valid packs the last
    adapter is kept. Interrupted, it goes on from its last validation, with the same result. start: an
    adapter to begin from.
    """
    import torch

    torch.manual_seed(recipe.seed)
    layers = add_lora(model, recipe.rank)
    if start:
        load_adapter(layers, start)
    folder.mkdir(parents=True, exist_ok=True)
    # Small steps would be lost in bfloat16: the optimiser changes float32, the model computes with a copy.
    weights = [p for layer in layers.values() for p in (layer.lora_a, layer.lora_b)]
    masters = [p.detach().float().clone() for p in weights]
    optimiser = torch.optim.AdamW(masters, lr=recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    per_epoch = max(1, sum(1 for _ in _steps(train, recipe, 0)))
    steps = max(1, math.ceil(recipe.epochs * per_epoch))
    every = max(1, per_epoch // recipe.validations)

    done = _resume(folder, masters, optimiser, recipe)
    step, tokens, seconds, best, without = done.step, done.tokens, done.seconds, done.best, done.without
    _copy(masters, weights)
    begun = time.monotonic() - seconds
    log = (folder / LOG).open("a" if step else "w", encoding="utf-8")
    with log:
        batches = islice(_batches(train, recipe), step, None)
        while step < steps and without < recipe.patience:
            batch = next(batches)
            rate = recipe.learning_rate * lr_schedule(step, steps)
            loss = training_step(model, batch, weights, masters, optimiser, rate)
            step += 1
            tokens += sum(len(pack.tokens) for pack in batch)
            measured = None
            if step % every == 0 or step == steps:
                measured = mean_loss(model, valid) if valid else None
                better = measured is None or best is None or measured < best
                best, without = (measured if better else best), (0 if better else without + 1)
                if better:
                    save_adapter(layers, masters, recipe.rank, folder)
                seconds = time.monotonic() - begun
                save_checkpoint(
                    folder, masters, optimiser, recipe, _Done(step, tokens, seconds, best, without)
                )
            line: Step = {
                "step": step,
                "steps": steps,
                "train_loss": round(loss, 5),
                "valid_loss": measured,
                "learning_rate": rate,
                "tokens": tokens,
                "seconds": round(time.monotonic() - begun, 2),
            }
            log.write(json.dumps(line) + "\n")
            log.flush()
            on_step(line)
    return TrainingResult(folder, step, best, tokens, time.monotonic() - begun, step < steps)


def mean_loss(model: Any, packs: Sequence[Pack]) -> float:
    """Compute the mean loss a token over packs, without learning."""
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
    """Take one step on a batch; give its loss."""
    import torch

    learnt, total = sum(pack.weight for pack in batch), 0.0
    for pack in batch:
        loss = pack_loss(model, pack) / learnt
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


def lr_schedule(step: int, steps: int) -> float:
    """Give the share of the learning rate at a step: up over a twentieth, then down a half cosine to 5 %."""
    warm = max(1, steps // 20)
    return min((step + 1) / warm, 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def _steps(train: Sequence[Pack], recipe: TrainingConfig, epoch: int) -> Iterator[list[Pack]]:
    """Give an epoch's steps: packs in an order of their own, about `recipe.batch` examples each."""
    order = list(train)
    random.Random(f"{recipe.seed} epoch {epoch}").shuffle(order)
    batch: list[Pack] = []
    for pack in order:
        batch.append(pack)
        if sum(pack.examples for pack in batch) >= recipe.batch:
            yield batch
            batch = []
    if batch:
        yield batch


def _batches(train: Sequence[Pack], recipe: TrainingConfig) -> Iterator[list[Pack]]:
    for epoch in count():
        yield from _steps(train, recipe, epoch)


def _copy(masters: Sequence[Any], weights: Sequence[Any]) -> None:
    import torch

    with torch.no_grad():
        for master, weight in zip(masters, weights, strict=True):
            weight.copy_(master)


@dataclass(frozen=True)
class _Done:
    """How far a training has come."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    without: int = 0


def save_checkpoint(
    folder: Path, masters: Sequence[Any], optimiser: Any, recipe: TrainingConfig, done: _Done
) -> None:
    """Write a checkpoint, whole or not at all; tensors and JSON, nothing that runs when it is read."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    for i, master in enumerate(masters):
        state = optimiser.state[master]
        tensors |= {f"{i}": master, f"{i}.mean": state["exp_avg"], f"{i}.square": state["exp_avg_sq"]}
    about = {"recipe": json.dumps(asdict(recipe)), "done": json.dumps(asdict(done))}
    with replacing(folder / CHECKPOINT) as staging:
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, str(staging), about)


def _resume(folder: Path, masters: Sequence[Any], optimiser: Any, recipe: TrainingConfig) -> _Done:
    """Take up the checkpoint in the folder, if it is of this recipe."""
    import torch
    from safetensors import SafetensorError, safe_open

    path = folder / CHECKPOINT
    if not path.exists():
        return _Done()
    try:
        with safe_open(str(path), framework="pt") as file, torch.no_grad():
            about = file.metadata() or {}
            if json.loads(about.get("recipe", "{}")) != asdict(recipe):
                return _Done()
            done = _Done(**json.loads(about["done"]))
            for i, master in enumerate(masters):
                master.copy_(file.get_tensor(f"{i}"))
                optimiser.state[master] = {
                    "step": torch.tensor(float(done.step)),
                    "exp_avg": file.get_tensor(f"{i}.mean").to(master.device),
                    "exp_avg_sq": file.get_tensor(f"{i}.square").to(master.device),
                }
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return _Done()  # a damaged checkpoint costs its steps, nothing else
    _trim_log(folder / LOG, done.step)
    return done


def _trim_log(log: Path, step: int) -> None:
    """Take the steps after the checkpoint out of the log: they will be taken again."""
    if log.exists():
        lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
        log.write_text("".join(lines[:step]), encoding="utf-8")
