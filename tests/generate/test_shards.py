"""Rows drafted in shards are those of one process, whoever drafts them; a cluster loses none of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.generate.test_pipeline import CHUNKS, build, files
from tests.models.test_pool import at
from tests.scripted_endpoint import Scripted, scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.generate import shards as shards_module
from tools.raft.generate.pipeline import BuildResult, build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.generate.shards import Drafting, Engine, Shard
from tools.raft.ingest.corpus import Corpus

OnDone = Callable[[Shard, list[dict[str, Any]]], None]


def in_threads(drafting: Drafting, shards: Sequence[Shard], on_done: OnDone, *, die_after: int = 99) -> None:
    """Draft the last shards first, two at a time; fail after so many."""
    todo, errors = list(shards), []

    def work() -> None:
        while todo:
            shard = todo.pop()
            if len(shards) - len(todo) > die_after:
                errors.append(UserError("the cluster is gone"))
                return
            try:
                on_done(shard, drafting.draft(shard))
            except UserError as error:
                errors.append(error)
                return

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module.plan_shards, "__kwdefaults__", {"size": 7})


def sharded(
    served: Sequence[Scripted], out: Path, engine: Engine = in_threads, **settings: Any
) -> BuildResult:
    corpus = Corpus(chunks=list(CHUNKS), documents=5)
    return build_dataset(corpus, at(*served), out, DatasetSettings(**settings), engine=engine)


def test_the_files_are_those_of_one_process(tmp_path: Path) -> None:
    with scripted_endpoint() as one, scripted_endpoint() as two:
        alone = build(one.url, tmp_path / "alone")
        one.reset()
        result = sharded([one, two], tmp_path / "shards")
        assert files(tmp_path / "shards") == files(tmp_path / "alone")
        assert result.usage.calls == alone.usage.calls
        assert sum(account["calls"] for account in result.endpoints) == alone.usage.calls
        again = sharded([one], tmp_path / "shards")
        assert again.usage.calls == again.usage.cached_calls == 0, "drafts are read, not replies"
        # Other questions are other shards, and no reply is paid for twice.
        sharded([one], tmp_path / "shards", questions=4)
        assert one.stats()["paid_twice"] == 0
    assert files(tmp_path / "shards") != files(tmp_path / "alone")


def test_a_run_that_ended_early_goes_on_with_the_shards_that_are_left(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path / "alone")
        endpoint.reset()
        with pytest.raises(UserError, match="the cluster is gone"):
            sharded([endpoint], tmp_path / "out", partial(in_threads, die_after=2))
        calls = endpoint.stats()["calls"]
        sharded([endpoint], tmp_path / "out")
        assert 0 < calls < endpoint.stats()["calls"] and endpoint.stats()["paid_twice"] == 0
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_failed_calls_are_counted_and_made_again_in_the_next_run(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        build(endpoint.url, tmp_path / "alone")
    with scripted_endpoint(block=CHUNKS[10]["text"][:40]) as endpoint:
        result = sharded([endpoint], tmp_path / "out")
        assert result.counts.missing > 0
    with scripted_endpoint() as endpoint:
        result = sharded([endpoint], tmp_path / "out")
        assert result.counts.missing == 0
        assert 0 < endpoint.stats()["calls"] < 10, "only those that failed"
    assert files(tmp_path / "out") == files(tmp_path / "alone")


def test_a_refusal_of_a_worker_is_one_line(tmp_path: Path) -> None:
    with scripted_endpoint(always=404) as endpoint, pytest.raises(UserError, match="does not exist"):
        sharded([endpoint], tmp_path)


CLUSTER = """
import json, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
from functools import partial
from tests.generate.test_pipeline import CHUNKS
from tests.models.test_pool import at
from tools.raft.files import PROJECT
from tools.raft.generate.pipeline import build_dataset
from tools.raft.generate.settings import DatasetSettings
from tools.raft.generate.ray_engine import draft_on_ray
from tools.raft.generate import shards
from tools.raft.ingest.corpus import Corpus

shards.plan_shards.__kwdefaults__ = {"size": 4}
urls, out, kill = sys.argv[1].split(","), Path(sys.argv[2]), sys.argv[3] == "kill"
env = {"env_vars": {"PYTHONPATH": str(PROJECT)}}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
node = cluster.add_node(num_cpus=1)
ray.init(address=cluster.address, runtime_env=env, log_to_driver=False)

def end():
    while len(list(out.glob(".cache/drafts/*.jsonl"))) < 3:
        time.sleep(0.1)
    cluster.remove_node(node, allow_graceful=False)

if kill:
    threading.Thread(target=end, daemon=True).start()
result = build_dataset(Corpus(chunks=list(CHUNKS), documents=5), at(*urls), out, DatasetSettings(),
                       engine=partial(draft_on_ray, actors=3))
alive = sum(node["Alive"] for node in ray.nodes())
print(json.dumps({"rows": result.counts.rows, "missing": result.counts.missing, "alive": alive}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_a_ray_cluster_of_two_nodes_writes_the_same_files_even_if_one_dies(
    kill: bool, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    with scripted_endpoint(latency=0.3) as one, scripted_endpoint(latency=0.3) as two:
        build(one.url, tmp_path / "alone")
        one.reset()
        run = subprocess.run(
            [sys.executable, "-c", CLUSTER, f"{one.url},{two.url}", str(tmp_path / "ray"), "kill" if kill else "-"],
            cwd=PROJECT, capture_output=True, text=True, timeout=400, env={**os.environ, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-3000:]
        stats = [endpoint.stats() for endpoint in (one, two)]
    # Ray, too, writes to the standard output, also after the last line of ours.
    told = json.loads(next(line for line in run.stdout.splitlines() if line.startswith('{"rows"')))
    assert told == {"rows": 200, "missing": 0, "alive": 1 if kill else 2}
    assert files(tmp_path / "ray") == files(tmp_path / "alone")
    assert sum(one["paid_twice"] for one in stats) <= (32 if kill else 0), "those in flight at most"
