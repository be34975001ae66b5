"""The status of a training, from its log."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tools.raft.files import json_line
from tools.raft.finetune.local.log import read_status


def write_log(path: Path, seconds_per_step: list[float], *, steps: int) -> Path:
    total, lines = 0.0, []
    for number, seconds in enumerate(seconds_per_step, start=1):
        total += seconds
        valid_loss = 0.9 if number == 2 else None
        lines.append(
            json_line(
                {"step": number, "steps": steps, "train_loss": 1 / number, "valid_loss": valid_loss,
                 "learning_rate": 0.1, "tokens": 100 * number, "seconds": total}
            )
        )  # fmt: skip
    path.write_text("".join(lines), encoding="utf-8")
    os.utime(path, (0, time.time() + 60))  # no time passes after the last step
    return path


def test_nothing_is_known_before_the_first_step(tmp_path: Path) -> None:
    status = read_status(tmp_path / "log.jsonl")
    assert status["step"] is None and status["metrics"] == {}
    assert "seconds_left" not in status and "tokens_per_second" not in status


def test_the_first_steps_tell_speed_and_rest(tmp_path: Path) -> None:
    status = read_status(write_log(tmp_path / "log.jsonl", [2.0] * 4, steps=10))
    assert status["step"] == 4 and status["metrics"] == {"train_loss": 0.25, "valid_loss": 0.9}
    assert status["tokens_per_second"] == pytest.approx(50)
    assert status["seconds_left"] == pytest.approx(12)


def test_speed_and_rest_follow_a_machine_that_becomes_slower(tmp_path: Path) -> None:
    status = read_status(write_log(tmp_path / "log.jsonl", [1.0] * 40 + [4.0] * 20, steps=80))
    assert status["tokens_per_second"] == pytest.approx(25)
    assert status["seconds_left"] == pytest.approx(80)


def test_a_line_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", [1.0] * 3, steps=10)
    with log.open("a", encoding="utf-8") as file:
        file.write('{"step": 4, "ste')
    assert read_status(log)["step"] == 3


def test_the_rest_becomes_less_during_a_step_and_waits_for_its_end(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.jsonl", [60.0] * 2, steps=5)
    for passed, left in ((45, 135), (500, 120)):
        os.utime(log, (0, time.time() - passed))
        assert read_status(log)["seconds_left"] == pytest.approx(left, abs=1)
