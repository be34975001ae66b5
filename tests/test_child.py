"""Processors that other processes keep busy are not counted on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tools.raft import child
from tools.raft.child import free_processors, processors


def test_a_busy_processor_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([[100, 0, 0, 100, 0, 0, 0, 0], [150, 0, 0, 150, 0, 0, 0, 0]])
    monkeypatch.setattr(child, "_processor_times", lambda: next(times))
    monkeypatch.setattr(child, "processors", lambda: 2)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert free_processors() == 1


def test_at_least_one_processor_is_used() -> None:
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processors() + 1)]
    try:
        assert free_processors() == 1
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def test_without_such_figures_all_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> list[int]:
        raise OSError

    monkeypatch.setattr(child, "_processor_times", missing)
    assert free_processors() == processors()
