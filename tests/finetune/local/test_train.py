"""Training learns, stops early, keeps the best adapter, and resumes after an interruption."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import WordTokenizer, tiny_model
from tools.raft.finetune.local import train
from tools.raft.finetune.local.pack import Pack, pack_examples, tokenise
from tools.raft.finetune.local.train import LOG, Step, TrainingConfig, mean_loss, train_adapter

COLOURS = ("red", "green", "blue", "white", "black", "brown", "grey", "pink")
CONFIG = TrainingConfig(epochs=4, learning_rate=0.02, rank=4, batch=2, validations=1, patience=9)


class Killed(Exception):
    """Stops a training in the middle."""


def packs(tokenizer: WordTokenizer, names: tuple[str, ...] = COLOURS) -> list[Pack]:
    chats = [
        [{"role": "user", "content": f"Say {name}."}, {"role": "assistant", "content": f"{name}!"}]
        for name in names
    ]
    return list(pack_examples([tokenise(chat, tokenizer) for chat in chats], max_tokens=1))


def steps_of(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]


def tensors(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "adapter_model.safetensors")


def test_learns_and_keeps_the_best_adapter(tmp_path: Path) -> None:
    rows = packs(WordTokenizer())
    before = mean_loss(tiny_model(), rows)
    trained = train_adapter(tiny_model(), rows, rows, tmp_path, CONFIG)
    assert trained.steps == 16
    assert trained.valid_loss is not None and trained.valid_loss < before - 0.2
    log = steps_of(tmp_path)
    assert [line["step"] for line in log] == list(range(1, 17))
    assert trained.valid_loss == min(line["valid_loss"] for line in log if line["valid_loss"] is not None)
    assert trained.tokens == 4 * sum(len(pack.tokens) for pack in rows)

    again = train_adapter(tiny_model(), rows, rows, tmp_path, CONFIG)
    assert again.steps == 16 and again.seconds < trained.seconds, "a finished training is not repeated"


def test_an_interrupted_training_ends_with_the_same_result(tmp_path: Path) -> None:
    rows = packs(WordTokenizer())
    train_adapter(tiny_model(), rows, rows[:2], tmp_path / "whole", CONFIG)

    def kill(step: Step) -> None:
        if step["step"] == 10:  # two steps after a checkpoint, which are repeated
            raise Killed

    with pytest.raises(Killed):
        train_adapter(tiny_model(), rows, rows[:2], tmp_path / "parts", CONFIG, on_step=kill)
    taken: list[int] = []
    train_adapter(
        tiny_model(), rows, rows[:2], tmp_path / "parts", CONFIG, on_step=lambda s: taken.append(s["step"])
    )
    assert taken == list(range(9, 17))
    whole_log, parts_log = steps_of(tmp_path / "whole"), steps_of(tmp_path / "parts")
    assert [(s["step"], s["train_loss"], s["valid_loss"]) for s in whole_log] == [
        (s["step"], s["train_loss"], s["valid_loss"]) for s in parts_log
    ]
    whole, parts = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all((whole[name] == parts[name]).all() for name in whole)


def test_killed_right_after_a_checkpoint_each_step_is_logged_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint = train.save_checkpoint

    def save_and_die(*arguments: Any) -> None:
        save_checkpoint(*arguments)
        raise Killed

    rows = packs(WordTokenizer())
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(train, "save_checkpoint", save_and_die)
        train_adapter(tiny_model(), rows, [], tmp_path, CONFIG)
    train_adapter(tiny_model(), rows, [], tmp_path, CONFIG)
    assert [line["step"] for line in steps_of(tmp_path)] == list(range(1, 17))


def test_another_config_or_a_damaged_checkpoint_starts_over(tmp_path: Path) -> None:
    rows = packs(WordTokenizer())
    train_adapter(tiny_model(), rows, [], tmp_path, CONFIG)
    other = TrainingConfig(**{**CONFIG.__dict__, "seed": 7})
    train_adapter(tiny_model(), rows, [], tmp_path, other)
    assert len(steps_of(tmp_path)) == 16
    (tmp_path / "checkpoint.safetensors").write_bytes(b"no tensors")
    taken: list[int] = []
    train_adapter(tiny_model(), rows, [], tmp_path, other, on_step=lambda s: taken.append(s["step"]))
    assert taken[0] == 1


def test_a_checkpoint_that_lacks_a_tensor_leaves_nothing_behind(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    rows = packs(WordTokenizer())
    train_adapter(tiny_model(), rows, [], tmp_path / "whole", CONFIG)
    train_adapter(tiny_model(), rows, [], tmp_path / "damaged", CONFIG)
    path = tmp_path / "damaged" / "checkpoint.safetensors"
    with safe_open(str(path), framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    del tensors["3.square"]
    save_file(tensors, str(path), metadata)
    train_adapter(tiny_model(), rows, [], tmp_path / "damaged", CONFIG)
    losses = [[step["train_loss"] for step in steps_of(tmp_path / name)] for name in ("whole", "damaged")]
    assert losses[0] == losses[1]


def test_stops_when_validation_no_longer_improves(tmp_path: Path) -> None:
    tokenizer = WordTokenizer()
    rows, other = packs(tokenizer), packs(tokenizer, ("violet", "orange"))
    config = TrainingConfig(epochs=50, learning_rate=0.05, rank=4, batch=2, validations=1, patience=2)
    trained = train_adapter(tiny_model(), rows, other, tmp_path, config)
    assert trained.stopped_early and trained.steps < 100
    losses = [line["valid_loss"] for line in steps_of(tmp_path) if line["valid_loss"] is not None]
    assert trained.valid_loss == min(losses) == losses[-3], "the two validations after the best are no better"
