"""A paid reply is never paid for again, whatever happens to the process or the file."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.models.cache import (
    FILE,
    Cache,
    Stored,
    address_key,
    cache_directory,
    canonical_json,
    model_key,
)

ROOT = PROJECT
REPLY = Stored("Fünf bis neun Gramm. 五克\n<ANSWER>: 5", "stop", 12, 7)


def test_returns_a_reply_as_it_was_stored(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "a" / "b")
    assert cache.get(b"k") is None
    cache.put(b"k", REPLY)
    cache.close()
    assert Cache(tmp_path / "a" / "b").get(b"k") == REPLY


def test_the_key_depends_on_every_value_but_not_on_their_order() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Was?"}], "temperature": 0.0}
    assert canonical_json(body) == canonical_json(dict(reversed(body.items())))
    changed = [{**body, "model": "n"}, {**body, "temperature": 0.1}, {**body, "seed": 1},
               {**body, "messages": [{"role": "user", "content": "Was? "}]}]  # fmt: skip
    keys = {model_key(canonical_json(entry), 0, "") for entry in [body, *changed]}
    text = canonical_json(body)
    keys |= {model_key(text, 1, ""), model_key(text, 0, "r"), address_key(text, 0, {"where": "a"}),
             address_key(text, 0, {"where": "b"})}  # fmt: skip
    assert len(keys) == 9


def test_a_file_of_an_earlier_version_is_read_and_goes_on(tmp_path: Path) -> None:
    """Its keys are the hash of {"attempt", "body", "endpoint"}, and it has no column for the address."""
    request = {"attempt": 0, "body": {"model": "m", "prompt": "Was?"}, "endpoint": {"where": "http://a/v1"}}
    text = json.dumps(request, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    with sqlite3.connect(tmp_path / FILE) as old:
        old.execute(
            "CREATE TABLE reply (key BLOB PRIMARY KEY, text TEXT NOT NULL, finish_reason TEXT NOT NULL,"
            " prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, logprobs TEXT NOT NULL)"
            " WITHOUT ROWID"
        )
        key = hashlib.sha256(text.encode()).digest()
        old.execute("INSERT INTO reply VALUES (?, 'Otters.', 'stop', 3, 2, '')", (key,))
    old.close()
    cache = Cache(tmp_path)
    found = cache.get(address_key(canonical_json(request["body"]), 0, {"where": "http://a/v1"}))
    assert found == Stored("Otters.", "stop", 3, 2)
    cache.put(b"k", replaced := Stored("Bats.", "stop", 1, 1, place="http://b/v1"))
    assert cache.get(b"k") == replaced


def test_chooses_the_cache_folder(tmp_path: Path) -> None:
    assert cache_directory(tmp_path, {}) == tmp_path / ".cache"
    assert cache_directory(tmp_path, {"RAFT_CACHE_DIR": "/var/cache/raft"}) == Path("/var/cache/raft")
    assert cache_directory(None, {}) is None


@pytest.mark.parametrize("damage", ["not sqlite", "torn header", "torn pages"])
def test_moves_a_damaged_file_aside_with_a_one_line_warning(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path)
    for number in range(200):
        cache.put(b"%d" % number, REPLY)
    cache.close()
    file = tmp_path / FILE
    whole = file.read_bytes()
    if damage == "not sqlite":
        file.write_bytes(b"hello " * 1000)
    elif damage == "torn header":
        file.write_bytes(whole[:100])
    else:
        file.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))

    cache = Cache(tmp_path)
    for number in range(200):
        cache.get(b"%d" % number)
    cache.put(b"new", REPLY)
    assert cache.get(b"new") == REPLY
    assert len(list(tmp_path.glob(f"{FILE}.damaged-*"))) >= 1
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "moved aside" in warnings[0]
    assert "\n" not in warnings[0]


def test_reports_a_folder_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="cannot be created"):
        Cache(tmp_path / "file" / "cache")


def test_a_full_disk_stops_the_run_before_more_is_spent(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache._database.execute("PRAGMA max_page_count = 4")
    with pytest.raises(UserError, match="RAFT_CACHE_DIR"):
        for number in range(100):
            cache.put(b"%d" % number, Stored("x" * 4000, "stop", 1, 1))


WRITER = """
import sys
from pathlib import Path
from tools.raft.models.cache import Cache, Stored
cache = Cache(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    cache.put(f"{sys.argv[2]} {number}".encode(), Stored(f"{sys.argv[2]} {number}", "stop", 1, 1))
    if sys.argv[2] == "killed":
        print(number, flush=True)
"""


def writer(cache: Path, name: str, count: int) -> subprocess.Popen[str]:
    """Start a process that stores replies once it has read a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(cache), name, str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_can_write_at_the_same_time(tmp_path: Path) -> None:
    processes = [writer(tmp_path, name, 400) for name in ("a", "b")]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.wait(60) for process in processes] == [0, 0]
    cache = Cache(tmp_path)
    assert cache.count() == 800
    assert cache.get(b"b 399") == Stored("b 399", "stop", 1, 1)


def test_stored_replies_survive_kill_9(tmp_path: Path) -> None:
    process = writer(tmp_path, "killed", 1_000_000)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    last = -1
    while last < 300:
        last = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    for line in process.stdout:
        last = int(line) if line.endswith("\n") else last
    process.wait(10)
    cache = Cache(tmp_path)
    assert all(cache.get(b"killed %d" % number) for number in range(last + 1))


def test_storing_a_reply_is_cheap(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    reply = Stored("x" * 1000, "stop", 1, 1)
    rounds = []
    for start in range(0, 1000, 200):
        started = time.process_time()
        for number in range(start, start + 200):
            cache.put(b"%d" % number, reply)
        rounds.append((time.process_time() - started) / 200)
    # 60 to 90 µs on an idle machine; a sync at each commit would take milliseconds of wall time.
    assert min(rounds) < 300e-6
