"""The estimate of a training's time, and the epochs that fit into a budget."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import WordTokenizer, tiny_model
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.local.estimate import TrainingTime, _predict, measure_training, to_estimate
from tools.raft.finetune.local.pack import Pack, pack_examples, tokenise
from tools.raft.finetune.local.train import TrainingConfig, train_adapter

# 10 steps of 6 s, two of them before each validation of 3 s, after 12 s of loading.
TIME = TrainingTime(12.0, 3.0, [6.0] * 10, tokens=[500] * 10, rows=[4] * 10, validations=5)
SPEC = FineTuneSpec(Path("dataset"), "embedded", epochs=3)


def packs(count: int) -> list[Pack]:
    tokenizer = WordTokenizer()
    chats = [
        [
            {"role": "user", "content": f"Door {number}: " + "so it goes on " * (10 + number)},
            {"role": "assistant", "content": f"number {number}!"},
        ]
        for number in range(count)
    ]
    return list(pack_examples([tokenise(chat, tokenizer) for chat in chats], max_tokens=1))


def test_loading_steps_and_validations_add_up() -> None:
    assert TIME.seconds(30) == 12 + 30 * 6 + 15 * 3
    assert TIME.seconds(3) == 12 + 3 * 6 + 2 * 3, "the last step is validated, too"
    assert to_estimate(SPEC, TIME).basis == "about 4 min here, 67 tokens/s"
    assert to_estimate(SPEC, TIME).tokens == 15_000


def test_the_epochs_that_fit_into_the_minutes_are_named_with_the_rows_left_out() -> None:
    estimate = to_estimate(replace(SPEC, minutes=1.0), TIME)
    assert estimate.epochs == 0.6 and estimate.seconds == 12 + 6 * 6 + 3 * 3
    assert estimate.basis.endswith("; 0.6 of 3 epochs: 16 of 40 rows are not trained on")
    more = to_estimate(replace(SPEC, minutes=2.1), TIME)
    assert more.epochs == 1.5 and more.basis.endswith("; 1.5 of 3 epochs: with all rows")
    assert to_estimate(replace(SPEC, minutes=10), TIME) == to_estimate(SPEC, TIME), "nothing is left out"


def test_the_fitted_epochs_take_the_steps_that_fit() -> None:
    for steps in range(1, 700):
        measured = replace(TIME, steps=[6.0] * 700, tokens=[1] * 700, rows=[1] * 700)
        epochs = measured.fit(measured.seconds(steps) / 60 + 1e-6, 3)
        assert measured.step_count(epochs) == steps


def test_a_budget_that_is_too_small_names_the_smallest_that_is_not() -> None:
    with pytest.raises(
        UserError, match=r"--minutes 0\.1 is too short .* takes 12 s and a step 6 s.* least 0\.4"
    ):
        to_estimate(replace(SPEC, minutes=0.1), TIME)
    assert to_estimate(replace(SPEC, minutes=0.4), TIME).epochs == 0.1


def test_the_time_of_a_pack_follows_from_others_of_different_size() -> None:
    def seconds(cost: list[float]) -> float:
        return 0.1 * cost[0] + 0.002 * cost[1] + 1e-6 * cost[2]

    costs = [[1.0, float(n), float(n * n)] for n in (100, 200, 400, 800)]
    timed = [(cost, seconds(cost)) for cost in costs]
    largest = [1.0, 1500.0, 1500.0**2]
    assert _predict(timed, largest) == pytest.approx(seconds(largest), rel=1e-6)
    noisy = [(cost, known * (1.1 if i % 2 else 0.9)) for i, (cost, known) in enumerate(timed)]
    assert _predict(noisy, largest) == pytest.approx(seconds(largest), rel=0.3)
    assert _predict(timed[-1:], [1.0, 400.0, 0.0]) == pytest.approx(timed[-1][1] / 2)


def test_a_measured_training_has_the_steps_and_tokens_of_the_real_one(tmp_path: Path) -> None:
    rows, config = packs(12), TrainingConfig(epochs=2, rank=4, batch=4, validations=2)
    measured = measure_training(tiny_model(), rows, rows[:3], config, started=time.monotonic())
    trained = train_adapter(tiny_model(), rows, rows[:3], tmp_path, config)
    steps = measured.step_count(config.epochs)
    assert steps == trained.steps
    assert measured.token_count(steps) == trained.tokens
    assert sum(measured.rows) == 12
    assert 0 < measured.validation < sum(measured.steps)
