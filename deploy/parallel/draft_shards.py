"""The entry script of the parallel step: Azure ML calls `init` in each process and `run` for each mini-batch.

Source of the protocol: https://learn.microsoft.com/azure/machine-learning/how-to-use-parallel-job-in-pipeline.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository, which is uploaded whole

from deploy.parallel.pool import pool_from_environment
from tools.raft.generate.batches import CHUNKS
from tools.raft.generate.shards import Drafting, Shard

CACHE = Path(tempfile.gettempdir()) / "raft-replies"
_options = argparse.Namespace()


def init() -> None:
    """Read the arguments of the step; the service adds some of its own."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--chunks", type=Path, required=True, help="what the split wrote")
    parser.add_argument("--drafts", type=Path, required=True, help="folder for the drafts")
    parser.add_argument("--workers", type=int, default=8, help="calls at a time of this process")
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.parse_known_args(namespace=_options)
    _options.drafts.mkdir(parents=True, exist_ok=True)


def run(mini_batch: list[str]) -> list[str]:
    """Draft the shards of a mini-batch, and return a line for each; what is drafted already costs nothing.

    Raises UserError if an endpoint refuses; the service then tries the mini-batch again, as it is set to. The
    replies that were paid for are in a cache on the node: it is a database, which no mounted storage holds.
    """
    lines = []
    for name in mini_batch:
        task = json.loads(Path(name).read_text(encoding="utf-8"))
        shard = Shard(**task["shard"])
        drafting = Drafting(
            _options.chunks / CHUNKS, _options.drafts, pool_from_environment(), task["questions"],
            task["seed"], CACHE, _options.workers, _options.timeout,
        )  # fmt: skip
        accounts = drafting.draft(shard)
        calls = sum(account["calls"] for account in accounts)
        lines.append(f"{Path(name).name}: {shard.count} chunks, {calls} calls")
    return lines


def shutdown() -> None:
    """Nothing is left to close: each shard closes its connections."""
