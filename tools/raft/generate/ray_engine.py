"""Draft shards on a Ray cluster, with Ray Data."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import PROJECT
from .shards import Drafting, Shard


def draft_on_ray(
    drafting: Drafting,
    shards: Sequence[Shard],
    on_done: Callable[[Shard, list[dict[str, Any]]], None],
    *,
    address: str = "",
    actors: int = 4,
) -> None:
    """Draft the shards in actors of a Ray cluster; `address` "" starts one on this machine.

    The concurrency is divided among the actors, so that more actors do not ask an endpoint harder. A shard
    whose node dies is drafted again on another. Replies are cached in `drafting.cache` on this machine's
    cluster, and on one with an address on each node by itself, unless RAFT_CACHE_DIR is set. Raises UserError
    without Ray, without a cluster at the address, and for what a worker raises as one.
    """
    todo = []
    for shard in shards:
        if shard.is_done(drafting.folder):
            on_done(shard, [])
        else:
            todo.append(shard)
    if not todo:
        return
    try:
        import ray
    except ImportError:
        raise UserError("--engine ray needs Ray: pip install -r requirements-ray.txt") from None
    drafting.folder.mkdir(parents=True, exist_ok=True)
    actors = min(actors, len(todo))
    each = replace(drafting, concurrency=max(1, drafting.concurrency // actors))
    if address and "RAFT_CACHE_DIR" not in os.environ:
        # SQLite's write-ahead log needs one machine: each node keeps its own.
        each = replace(each, cache=Path(tempfile.gettempdir()) / "raft-replies")
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(
                # The workers import this project, which stands at the same place on every node.
                runtime_env={"env_vars": {"PYTHONPATH": str(PROJECT)}},
                logging_level=logging.WARNING,
                log_to_driver=False,
                **({"address": address} if address else {"include_dashboard": False}),
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"no Ray cluster can be used at {address or 'this machine'}: {error}") from None
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        by_key = {shard.key: shard for shard in todo}
        rows = ray.data.from_items([vars(shard) for shard in todo], override_num_blocks=len(todo))
        drafted = rows.map(
            _Drafter, fn_constructor_args=(each,), concurrency=actors, num_cpus=0.5, max_restarts=-1,
            max_task_retries=-1,
        )  # fmt: skip
        for row in drafted.iter_rows():
            if row["error"]:
                raise UserError(row["error"])
            on_done(by_key[row["key"]], row["accounts"])
    finally:
        if started:
            ray.shutdown()


class _Drafter:
    """An actor: drafts one shard after another."""

    def __init__(self, drafting: Drafting) -> None:
        self._drafting = drafting

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            accounts, error = self._drafting.draft(Shard(**row)), ""
        except UserError as refusal:
            accounts, error = [], str(refusal)
        return {"key": row["key"], "accounts": accounts, "error": error}
