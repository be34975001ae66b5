"""Estimate how long a training takes on this machine, from the time that some of its packs take."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from ...errors import UserError
from ...progress import describe_duration
from ..backend import Estimate, FineTuneSpec
from .pack import IGNORE_INDEX, Pack, pack_loss
from .train import TrainingConfig, adapt_model, count_steps, epoch_batches, steps_per_validation

SAMPLE_SECONDS = 10.0  # about what timing the packs may take
SAMPLE_TOKENS = 100  # the smallest part of a pack that is timed: less is all overhead


@dataclass(frozen=True)
class TrainingTime:
    """The seconds that loading the model, one validation and each step of an epoch take."""

    loading: float
    validation: float
    steps: list[float]
    tokens: list[int]  # of each step
    rows: list[int]  # of each step
    validations: int  # per epoch

    def step_count(self, epochs: float) -> int:
        """Return the number of steps of a training, as train_adapter takes them."""
        return count_steps(epochs, len(self.steps))

    def seconds(self, steps: int) -> float:
        """Return the seconds of so many steps, with loading the model before and the validations between."""
        validations = math.ceil(steps / steps_per_validation(self.validations, len(self.steps)))
        return self.loading + self._sum(self.steps, steps) + validations * self.validation

    def token_count(self, steps: int) -> int:
        """Return the tokens that so many steps train on."""
        return round(self._sum(self.tokens, steps))

    def rows_left_out(self, steps: int) -> int:
        """Return the number of rows that so many steps do not reach."""
        return sum(self.rows[steps:])

    def fit(self, minutes: float, epochs: float) -> float:
        """Return the epochs, at most those given, that take no longer than the minutes.

        Raises UserError if not even one step does.
        """
        most = self.step_count(epochs)
        steps = bisect_right(range(1, most + 1), minutes * 60, key=self.seconds)
        if steps == 0:
            raise UserError(
                f"--minutes {minutes:g} is too short to train: loading the model takes "
                f"{describe_duration(self.loading)} and a step {describe_duration(self.steps[0])}; "
                f"give at least {math.ceil(self.seconds(1) / 6) / 10:g}"
            )
        if steps == most:
            return epochs
        # Rounded down, so that step_count gives these steps again.
        fitted = math.floor(steps / len(self.steps) * 1e4) / 1e4
        return fitted if self.step_count(fitted) == steps else fitted - 1e-4

    def _sum(self, per_step: Sequence[float], steps: int) -> float:
        epochs, rest = divmod(steps, len(per_step))
        return epochs * sum(per_step) + sum(per_step[:rest])


def to_estimate(spec: FineTuneSpec, measured: TrainingTime) -> Estimate:
    """Return the estimate of a spec: with minutes, of as many of its epochs as fit."""
    epochs = spec.epochs if spec.minutes is None else measured.fit(spec.minutes, spec.epochs)
    steps = measured.step_count(epochs)
    tokens, seconds = measured.token_count(steps), measured.seconds(steps)
    basis = f"about {describe_duration(seconds)} here, {tokens / (seconds - measured.loading):,.0f} tokens/s"
    if epochs < spec.epochs:
        left_out, rows = measured.rows_left_out(steps), sum(measured.rows)
        skipped = f"{left_out:,} of {rows:,} rows are not trained on" if left_out else "with all rows"
        basis += f"; {epochs:.2g} of {spec.epochs:g} epochs: {skipped}"
    return Estimate(tokens, 0.0, basis, seconds, epochs)


def measure_training(
    model: Any, train: Sequence[Pack], valid: Sequence[Pack], config: TrainingConfig, *, started: float
) -> TrainingTime:
    """Time some packs, and derive how long a training on all of them takes.

    `model` is changed as by train_adapter; `started` is the time.monotonic() when loading it began.
    """
    label_cost = _label_cost(model)
    adapt_model(model, config.rank)
    loading = time.monotonic() - started
    predict, validation_share = _time_packs(model, train, label_cost)
    batches = list(epoch_batches(train, config, 0))
    return TrainingTime(
        loading=loading,
        validation=validation_share * sum(map(predict, valid)),
        steps=[sum(map(predict, batch)) for batch in batches],
        tokens=[sum(len(pack.tokens) for pack in batch) for batch in batches],
        rows=[sum(pack.examples for pack in batch) for batch in batches],
        validations=config.validations,
    )


def _time_packs(
    model: Any, packs: Sequence[Pack], label_cost: float
) -> tuple[Callable[[Pack], float], float]:
    """Return a function that predicts the seconds of a pack, and a validation's share of them.

    Timed are parts of a pack of median size, each twice as large as the one before it, then that pack and the
    largest, as far as SAMPLE_SECONDS allow.
    """
    ordered = sorted(packs, key=lambda pack: len(pack.tokens))
    median = ordered[len(ordered) // 2]
    halvings = max(0, int(math.log2(len(median.tokens) / SAMPLE_TOKENS)))
    samples = [_thin(median, 2**i) for i in range(halvings, -1, -1)] + ordered[-1:]
    _time(model, samples[0])  # what is used for the first time takes longer
    deadline = time.monotonic() + SAMPLE_SECONDS
    timed: list[tuple[list[float], float]] = []
    for sample in samples:
        if timed and time.monotonic() + _predict(timed, _cost(sample, label_cost)) > deadline:
            break
        if next(model.parameters()).is_cuda:
            _time(model, sample)  # a GPU loads its kernels with the first pack of a size
        timed.append((_cost(sample, label_cost), _time(model, sample)))
    share = _time(model, samples[0], train=False) / timed[0][1]
    return lambda pack: _predict(timed, _cost(pack, label_cost)), share


def _cost(pack: Pack, label_cost: float) -> list[float]:
    """Return what the time of a pack depends on: a constant, the products with weights, the attention.

    Products: one for each token, and the output layer for each label. Attention: the pairs of tokens of
    which one may attend to the other.
    """
    labels = sum(label != IGNORE_INDEX for label in pack.labels)
    prefix, *segments = pack.segment_lengths
    pairs = prefix**2 + sum(length * (prefix + length) for length in segments)
    return [1.0, len(pack.tokens) + label_cost * labels, float(pairs)]


def _predict(timed: Sequence[tuple[list[float], float]], cost: Sequence[float]) -> float:
    """Predict the seconds of a pack from the costs and seconds of others, by least relative squares."""
    import numpy as np

    costs, seconds = (np.array(values) for values in zip(*timed, strict=True))
    # With few samples, or where noise makes a factor negative, fewer parts are told apart.
    for parts in ([0, 1, 2], [1, 2], [1]):
        factors = np.linalg.lstsq(costs[:, parts] / seconds[:, None], np.ones(len(timed)), rcond=None)[0]
        if len(parts) <= len(timed) and (factors > 0).all():
            break
    return float(factors @ np.array(cost)[parts])


def _label_cost(model: Any) -> float:
    """Return what a label costs in the output layer, relative to a token in all other layers."""
    import torch

    head = model.get_output_embeddings()
    layers = [m.weight.numel() for m in model.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    return head.weight.numel() / max(1, sum(layers))


def _thin(pack: Pack, step: int) -> Pack:
    """Return a pack of every step-th token, which has the same proportions."""
    return Pack(*(values[::step] for values in astuple(pack)))


def _time(model: Any, pack: Pack, *, train: bool = True) -> float:
    """Return the seconds of a pack, with the gradients that training needs or without."""
    import torch

    started = time.perf_counter()
    with torch.set_grad_enabled(train):
        loss = pack_loss(model, pack)
        if train:
            loss.backward()
    loss.item()
    if loss.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    model.zero_grad(set_to_none=True)
    return seconds
