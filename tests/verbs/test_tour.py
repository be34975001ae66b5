"""The tour: what it prints and when, and that it goes on wherever it was killed."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT, read_log
from tools.verbs.tour import ANSWERED_AT_ONCE, GENERATED_AT_ONCE, QUESTIONS, brief
from tools.verbs.transcript import Transcript

TIME = re.compile(r"^ *(\d+):(\d\d)  ")


def run_until(command: Sequence[str], pattern: str = "") -> str:
    """Run a command; kill it (SIGKILL) at the first line that matches. Return its output."""
    process = subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        encoding="utf-8", env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    lines = []
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        if pattern and re.search(pattern, line):
            process.kill()
            break
    rest, _ = process.communicate(timeout=600)
    output = "".join(lines) + rest
    assert process.returncode == (-9 if pattern else 0), output
    return output


def contents(out: Path) -> dict[str, object]:
    """Return what a tour made, without times."""
    answers = {
        path.name: [{**row, "seconds": None} for row in read_log(path)]
        for path in sorted((out / "report" / "answers").glob("*.jsonl"))
    }
    names = ("raft.jsonl", "rejected.jsonl", "train.chat.jsonl", "chunks.jsonl", "held_out.jsonl")
    return {**answers, **{name: (out / name).read_bytes() for name in names}}


def check_scripted_tour(tmp_path: Path, kills: Sequence[str]) -> str:
    """Run a tour without and one with kills; assert that both made the same, and nothing twice."""
    with scripted_endpoint(latency=0.02) as endpoint:
        command = [sys.executable, "-m", "tests.verbs.scripted_tour", endpoint.url]
        undisturbed = run_until([*command, str(tmp_path / "undisturbed")])
        calls = endpoint.stats()["answered"]
        for pattern in kills:
            run_until([*command, str(tmp_path / "killed")], pattern)
        last = run_until([*command, str(tmp_path / "killed")])
        # A call that was under way when its process was killed has to be made again.
        under_way = len(kills) * max(GENERATED_AT_ONCE, ANSWERED_AT_ONCE)
        assert calls <= endpoint.stats()["answered"] - calls <= calls + under_way
    assert contents(tmp_path / "killed") == contents(tmp_path / "undisturbed")
    steps = (tmp_path / "killed" / "tuned" / "steps.log").read_text(encoding="utf-8").split()
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert "0 calls made now" in " ".join(last.split()), "wherever the line is wrapped"
    return undisturbed


def test_a_tour_killed_while_it_trains_goes_on_and_shows_all_it_makes(tmp_path: Path) -> None:
    output = check_scripted_tour(tmp_path, ["training: step 3"])
    rows = read_log(tmp_path / "undisturbed" / "raft.jsonl")
    assert all(f"row {number}: {row['question']}"[:60] in output for number, row in enumerate(rows, start=1))
    assert output.count("\n       base:    ") == output.count("\n       tuned:   ") == QUESTIONS
    assert f"only {QUESTIONS} questions: read the intervals, not the means" in output
    assert re.search(rf"Report: {QUESTIONS} questions, 3 arms in \S+report.html\n\Z", output)
    comparison = json.loads((tmp_path / "undisturbed/report/comparison.json").read_text(encoding="utf-8"))
    assert list(comparison["arms"]) == ["rag", "student", "raft"]
    assert set(comparison["settings"]["prompts"].values()) == {"chain_of_thought"}


@pytest.mark.slow
def test_a_tour_killed_at_any_step_makes_nothing_twice(tmp_path: Path) -> None:
    check_scripted_tour(
        tmp_path,
        ["Read bat-survey", "row 1:", "row 9:", "Dataset:", "Index:", "training: step", "Tuned model",
         "base: ", "shipped: ", "tuned: ", "rag is the base model"],
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_real_tour_killed_at_several_steps_ends_with_its_report(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tools", "demo", "--out", str(tmp_path / "demo")]
    for pattern in ("row 2:", "Dataset:", "step 4", "shipped: "):
        run_until(command, pattern)
    output = run_until(command)
    assert "0 calls made now" in " ".join(output.split())
    steps = [row["step"] for row in read_log(tmp_path / "demo" / "tuned" / "log.jsonl")]
    assert steps == list(range(1, len(steps) + 1))
    assert output.endswith(f"Report: {QUESTIONS} questions, 3 arms in {tmp_path}/demo/report/report.html\n")


def test_a_transcript_names_a_silent_activity_again() -> None:
    file = io.StringIO()
    transcript = Transcript(Console(file=file), silence=0.1)
    with transcript.during("training"):
        time.sleep(0.35)
        transcript.line("step 1", "loss 2.00")
    reminders = file.getvalue().count("… still training")
    assert reminders >= 2
    time.sleep(0.2)
    assert file.getvalue().count("… still training") == reminders
    assert file.getvalue().endswith(" 0:00  step 1\n       loss 2.00\n")


def test_long_lines_of_a_transcript_are_broken_beside_the_time() -> None:
    file = io.StringIO()
    Transcript(Console(file=file)).line("word " * 60)
    lines = file.getvalue().splitlines()
    assert len(lines) > 2 and TIME.match(lines[0])
    assert all(line.startswith("       word") and len(line) <= 100 for line in lines[1:])


def test_a_long_answer_is_shortened_to_one_line() -> None:
    assert brief("a\n b") == "a b"
    assert len(brief("word " * 100)) == 160
