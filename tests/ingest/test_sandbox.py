"""The parsing process keeps within its limits, reports pages, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.document_files import make_pdf, placed_lines
from tools.raft.ingest.formats.parsed import Unreadable
from tools.raft.ingest.read import ReadOptions, read_files
from tools.raft.ingest.sandbox import Parser

posix = pytest.mark.skipif(os.name != "posix", reason="processor time is limited on POSIX only")


def test_the_pages_of_a_document_are_reported_while_it_is_read(tmp_path):
    pages = [placed_lines(72, 700, [f"Page {number} is about the tides of the bay."]) for number in range(3)]
    (tmp_path / "a.pdf").write_bytes(make_pdf(pages))
    told = []
    list(read_files([tmp_path], on_page=lambda *page: told.append(page)))
    assert told == [("a.pdf", 1, 3), ("a.pdf", 2, 3), ("a.pdf", 3, 3)]


@posix
def test_a_busy_machine_changes_nothing_about_what_is_read(tmp_path):
    """A parser that waits for the processor longer than its limit is not stopped."""
    (tmp_path / "a.pdf").write_bytes(make_pdf([placed_lines(72, 700, ["The tides of the bay turn."])]))
    with Parser(seconds=1, max_memory=2 * 1024**3) as parser:
        parser.parse(tmp_path / "a.pdf", "pdf")
        process = parser._process
        os.kill(process.pid, signal.SIGSTOP)
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import os, time; time.sleep(2.5); os.kill({process.pid}, {signal.SIGCONT})",
            ]
        )
        started = time.monotonic()
        assert "tides" in parser.parse(tmp_path / "a.pdf", "pdf")["text"]
        assert time.monotonic() - started > 2


@posix
def test_the_limits_can_be_raised_and_the_message_says_how(tmp_path):
    (tmp_path / "slow.html").write_text("<p>word</p>" * 300_000, encoding="utf-8")
    (tmp_path / "good.txt").write_text("A heron stands in the reeds.", encoding="utf-8")
    (slow,) = [file for file in read_files([tmp_path], ReadOptions(parse_seconds=1)) if file.skipped]
    assert "--parse-seconds" in slow.skipped[0].reason
    big = ReadOptions(max_bytes=1024)
    (large,) = [file for file in read_files([tmp_path], big) if file.skipped]
    assert "--max-file-mb" in large.skipped[0].reason


@posix
def test_no_parsing_process_outlives_a_parent_that_is_killed(tmp_path):
    (tmp_path / "slow.html").write_text("<p>word</p>" * 3_000_000, encoding="utf-8")
    script = textwrap.dedent(
        f"""
        from pathlib import Path
        from tools.raft.ingest.sandbox import Parser
        with Parser(seconds=100, max_memory=8 * 1024**3) as parser:
            parser._start()
            print(parser._process.pid, parser._temporary.name, flush=True)
            parser.parse(Path({str(tmp_path / "slow.html")!r}), "html")
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid, temporary = parent.stdout.readline().split()
    child = psutil.Process(int(pid))
    time.sleep(1)
    assert child.is_running() and Path(temporary).exists()
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running() and not Path(temporary).exists()


def test_a_parser_that_crashes_is_said_to_have_crashed(tmp_path):
    (tmp_path / "a.pdf").write_bytes(make_pdf([placed_lines(72, 700, ["The tides of the bay turn."])]))
    with Parser(seconds=60, max_memory=2 * 1024**3) as parser:
        parser.parse(tmp_path / "a.pdf", "pdf")
        os.kill(parser._process.pid, signal.SIGSTOP)
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                f"import os, time; time.sleep(0.5); os.kill({parser._process.pid}, {signal.SIGKILL})",
            ]
        )
        with pytest.raises(Unreadable, match="crash"):
            parser.parse(tmp_path / "a.pdf", "pdf")
