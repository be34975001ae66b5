"""The entry script of the parallel step: Azure ML calls `init` in each process, `run` for each mini-batch.

Source of the protocol: https://learn.microsoft.com/azure/machine-learning/how-to-use-parallel-job-in-pipeline;
of one event loop per process: .github/skills/maf-prs-job in github.com/microsoft/promptflow, read 2026-11-27.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository, which is uploaded whole

from deploy.parallel.pool import pool_from_environment
from tools.raft.files import PROJECT, json_line, read_jsonl
from workflows.batch import answer_lines
from workflows.session import ChatSession, ChatSettings, open_retriever, open_session

CACHE = Path(tempfile.gettempdir()) / "raft-replies"  # a mini-batch that is tried again pays nothing twice


class _Process:
    """What a process keeps from `init` to `shutdown`."""

    loop: asyncio.AbstractEventLoop
    session: ChatSession
    opened: AsyncExitStack
    workers: int


def init() -> None:
    """Read the arguments of the step, to which the service adds its own, and open index and client."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--index", type=Path, default=PROJECT / "index")
    parser.add_argument("--mode", choices=("fused", "dense", "lexical"), default="fused")
    parser.add_argument("--workers", type=int, default=8, help="questions at a time of this process")
    options, _ = parser.parse_known_args()
    _Process.workers, _Process.opened = options.workers, AsyncExitStack()
    _Process.loop = asyncio.new_event_loop()
    session = open_session(
        open_retriever(options.index, options.mode),
        pool_from_environment(),
        ChatSettings(mode=options.mode),
        cache_dir=CACHE,
        workers=options.workers,
    )
    _Process.session = _Process.loop.run_until_complete(_Process.opened.enter_async_context(session))


def run(mini_batch: Iterable[Any]) -> list[str]:
    """Answer the questions of a mini-batch, files or rows; return a JSON text for each, in their order.

    A line with a mistake or a failed call is a row with its `error`. Raises UserError if the endpoint
    refuses; the service then tries the mini-batch again, as it is set to.
    """
    rows = mini_batch.to_dict("records") if hasattr(mini_batch, "to_dict") else mini_batch  # of a table
    lines: list[tuple[str, Any]] = []
    for row in rows:
        if isinstance(row, dict):
            lines.append(("", row))
        else:
            lines += [(Path(row).name, line) for _, line in read_jsonl(Path(row))]
    session, workers = _Process.session, _Process.workers
    answers = _Process.loop.run_until_complete(answer_lines(session, [line for _, line in lines], workers))
    return [json_line({"file": file, **row}).rstrip() for (file, _), row in zip(lines, answers, strict=True)]


def shutdown() -> None:
    """Close the client."""
    _Process.loop.run_until_complete(_Process.opened.aclose())
    _Process.loop.close()
