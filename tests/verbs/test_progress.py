"""Progress as a user sees it: lines in a log file, a bar on a terminal."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from tools.raft.files import PROJECT
from tools.raft.progress import describe_duration
from tools.verbs import progress


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file, highlight=False, width=40))
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.1)
    return file


def wait_for_lines(log: io.StringIO, count: int) -> list[str]:
    deadline = time.monotonic() + 10
    while len(log.getvalue().splitlines()) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return log.getvalue().splitlines()


def test_a_log_has_a_line_at_once_and_then_regularly_even_if_nothing_is_reported(log: io.StringIO) -> None:
    with progress.bar("merging teacher.gguf into a model whose name is longer than a line", 0):
        lines = wait_for_lines(log, 3)
    assert len(lines) >= 3
    assert lines[0] == "merging teacher.gguf into a model whose name is longer than a line"
    written = log.getvalue()
    time.sleep(0.3)
    assert log.getvalue() == written, "no line after the end"


def test_a_log_says_how_much_is_done_and_what_is_left(log: io.StringIO) -> None:
    with progress.bar("answering", 1000) as advance:
        assert wait_for_lines(log, 1) == ["answering: 0 of 1,000"]
        advance(1)
        time.sleep(0.05)
        advance(1)
        line = wait_for_lines(log, len(log.getvalue().splitlines()) + 1)[-1]
    found = re.fullmatch(r"answering: 2 of 1,000, about (\d+) s left", line)
    assert found and 45 <= int(found[1]) < 90, line


def test_a_training_shows_step_losses_speed_and_rest(log: io.StringIO) -> None:
    status = {"state": "running", "message": "loading the model", "step": None, "steps": None, "metrics": {}}
    with progress.training() as on_status:
        on_status(status)
        assert "training: loading the model" in wait_for_lines(log, 2)
        running = {
            "step": 19,
            "steps": 36,
            "message": "",
            "metrics": {"train_loss": 0.614, "valid_loss": 0.7},
        }
        on_status({**status, **running, "tokens_per_second": 94.4, "seconds_left": 239.0})
        lines = wait_for_lines(log, len(log.getvalue().splitlines()) + 2)
    assert lines[-1] == (
        "training: step 19 of 36, train loss 0.61, valid loss 0.70, 94 tokens/s, about 4 min left"
    )


def test_a_hosted_job_shows_its_state(log: io.StringIO) -> None:
    with progress.training("lr-2") as on_status:
        on_status({"state": "queued", "message": "", "step": None, "steps": None, "metrics": {}})
        assert wait_for_lines(log, 2)[-1] == "lr-2: queued"


def test_documents_are_named_and_markup_in_their_names_is_text(log: io.StringIO) -> None:
    with progress.reading() as on_page:
        on_page("[red]manual[/red].pdf", 3, 12)
        assert wait_for_lines(log, 2)[-1].startswith("reading [red]manual[/red].pdf: 3 of 12")


def test_the_work_goes_on_if_nobody_reads_the_log(tmp_path: Path) -> None:
    script = (
        "import time; from pathlib import Path; from tools.verbs import progress\n"
        "progress.LOG_SECONDS = 0.05\n"
        "with progress.bar('answering', 0): time.sleep(1)\n"
        f"Path({str(tmp_path / 'done')!r}).touch()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stderr is not None
    assert child.stdout.readline() == "answering\n"
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait() == 0 and (tmp_path / "done").exists()


def test_a_terminal_shows_a_bar_that_disappears(monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, width=100, legacy_windows=False)
    monkeypatch.setattr(progress, "console", terminal)
    with progress.bar("answering", 4) as advance:
        advance(3)
        time.sleep(0.6)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue())
    assert "━" in shown and "answering: 3 of 4" in shown
    assert file.getvalue().rstrip("\n").endswith("\x1b[2K"), "the line is erased at the end"


def test_the_rest_is_unknown_until_something_was_done_here() -> None:
    work = progress.Work("embedding", 100)
    assert work.seconds_left is None
    work.update(60, 100)  # found done, by an earlier run
    assert work.seconds_left is None
    time.sleep(0.02)
    work.update(62, 100)
    assert work.seconds_left is not None and 0.3 < work.seconds_left < 3


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (40, "40 s"), (100, "2 min"), (3240, "54 min"), (8000, "2 h 13 min")]
)
def test_durations_are_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert describe_duration(seconds) == text
