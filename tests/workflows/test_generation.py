"""The generation workflow beside the flows ask_questions and raft_generate: the same files, byte for byte."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import corpus, make_chunk
from tests.flows.test_raft_generate import ASK, DATASET, GENERATE, Batch, generate, merged  # noqa: F401 - a fixture
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.files import read_log, write_jsonl
from tools.raft.generate.settings import DatasetSettings
from tools.raft.models.client import Client
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.failed_calls import EndpointRefused

pytest.importorskip("agent_framework", reason="pip install --no-deps -r requirements-agents-dev.txt")

from workflows.generation import Chunks, Dataset, Questions, build_generation

SETTINGS = DatasetSettings(formats=("chat", "eval"))


def run(url: str, given: Chunks | Questions, *, cache: Path | None = None, **options: Any) -> Dataset:
    async def main() -> Dataset:
        async with Client(Endpoint(base_url=url, model="m"), cache_dir=cache, attempts=2) as client:
            workflow = build_generation(client, SETTINGS, start=type(given), **options)
            (made,) = (await workflow.run(given)).get_outputs()
            return made

    return asyncio.run(main())


def test_the_workflow_and_the_flows_write_the_same_dataset(
    merged: dict[Path, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    chunks = corpus(24)
    chunks.append(make_chunk("add_columns(table, names)\nAdds columns to a table of the survey.", kind="api"))
    flows = tmp_path / "flows"
    with scripted_endpoint(faults={"untagged": 0.2}) as endpoint:
        counts = generate(merged, endpoint, chunks, flows)
        asked = endpoint.stats()["calls"]
        file, lines = flows / "asked.jsonl", read_log(flows / "questions.jsonl")
        starts = [Chunks(chunks, file, tmp_path / "chunks"), Questions(lines, file, tmp_path / "questions")]
        for given, calls in zip(starts, (asked, asked - len(chunks)), strict=True):
            endpoint.reset()
            made = run(endpoint.url, given, lanes=3)
            assert endpoint.stats()["calls"] == calls
            assert (made.counts["rows"], made.failed) == (counts["rows"], [])
    for given in starts:
        assert read_log(given.out / "rejected.jsonl"), "some rows are rejected"
        for name in DATASET:
            assert (given.out / name).read_bytes() == (flows / name).read_bytes(), name


def test_the_variant_of_the_answer_prompt_asks_as_in_the_flow(
    merged: dict[Path, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    write_jsonl(tmp_path / "asked.jsonl", corpus(8))
    with scripted_endpoint() as endpoint:
        Batch(ASK, merged[ASK], endpoint).run(corpus(8), out=str(tmp_path))
        lines = read_log(tmp_path / "questions.jsonl")
        folder = merged[GENERATE]
        text = (folder / "flow.dag.yaml").read_text("utf-8")
        quoting = text.replace("default_variant_id: chain_of_thought", "default_variant_id: quote_only")
        (folder / "quote_only.yaml").write_text(quoting, "utf-8")

        class Quoting(Path(folder).__class__):  # type: ignore[misc]
            def __truediv__(self, name: Any) -> Path:
                return Path(folder) / ("quote_only.yaml" if name == "flow.dag.yaml" else name)

        inputs = {"chunks_file": str(tmp_path / "asked.jsonl"), "out": str(tmp_path / "flow")}
        Batch(GENERATE, Quoting(folder), endpoint).run(lines, **inputs)
        given = Questions(lines, tmp_path / "asked.jsonl", tmp_path / "workflow")
        run(endpoint.url, given, variant="quote_only")
    for name in DATASET:
        assert (tmp_path / "workflow" / name).read_bytes() == (tmp_path / "flow" / name).read_bytes(), name


def test_a_failed_call_fails_its_line_and_the_next_run_asks_only_for_that(tmp_path: Path) -> None:
    chunks = [
        *corpus(6),
        make_chunk("The call about this chunk fails: refuse_this_call. It is about otters."),
    ]
    file = tmp_path / "chunks.jsonl"
    write_jsonl(file, chunks)
    with scripted_endpoint(block="refuse_this_call") as endpoint:
        made = run(endpoint.url, Chunks(chunks, file, tmp_path / "out"), cache=tmp_path / "cache")
        assert made.counts["rows"] > 0
        assert len(made.failed) == 1 and "content filter" in made.failed[0]
    with scripted_endpoint() as endpoint:
        again = run(endpoint.url, Chunks(chunks, file, tmp_path / "out"), cache=tmp_path / "cache")
        requests = json.dumps(endpoint.requests())
        assert endpoint.stats()["calls"] < 15 and "otters" in requests and "Station 3" not in requests
    assert (again.failed, again.counts["rows"] > made.counts["rows"]) == ([], True)


def test_lanes_call_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "chunks.jsonl"
    write_jsonl(file, corpus(8))
    with scripted_endpoint(latency=0.05) as endpoint:
        run(endpoint.url, Chunks(corpus(8), file, tmp_path / "out"), lanes=4)
        assert endpoint.stats()["max_in_flight"] == 4


def test_a_refused_key_and_a_wrong_line_end_the_run(tmp_path: Path) -> None:
    with scripted_endpoint(key="sk-right-0123456") as endpoint:
        with pytest.raises(EndpointRefused):
            run(endpoint.url, Chunks(corpus(2), tmp_path / "c.jsonl", tmp_path))
        with pytest.raises(UserError, match="not a line of questions.jsonl"):
            run(endpoint.url, Questions([{"question": "?"}], tmp_path / "c.jsonl", tmp_path))
    with pytest.raises(UserError, match="variant: 'quote' is not one of"):
        run("http://127.0.0.1:9/v1", Chunks([], tmp_path, tmp_path), variant="quote")
