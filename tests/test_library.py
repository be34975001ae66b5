"""The library as others import it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import tools.raft

ROOT = Path(__file__).parent.parent


def test_it_does_not_import_promptflow() -> None:
    for file in (ROOT / "tools" / "raft").rglob("*.py"):
        assert not re.search(
            r"^\s*(?:from|import) promptflow", file.read_text(encoding="utf-8"), re.MULTILINE
        ), file


def test_every_name_it_promises_is_there() -> None:
    for name in tools.raft.__all__:
        assert getattr(tools.raft, name) is not None


def test_importing_it_imports_nothing_heavy() -> None:
    script = (
        "import sys; from tools.raft import Client, Settings, build_dataset, render, split_document;"
        "print([name for name in ('torch', 'openai', 'numpy', 'pyarrow', 'jinja2', 'faiss') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
