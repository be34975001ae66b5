"""Embedding texts at an endpoint: batches, retries, one-line errors."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import corpus, make_chunk
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.models.budget import Budget
from tools.raft.models.embed import Embedder
from tools.raft.models.embed_endpoint import EndpointEmbedder, open_embedder
from tools.raft.rag.build_index import build_index
from tools.raft.rag.index import open_index


def test_the_name_decides_the_kind_of_embedder(tmp_path: Path) -> None:
    assert type(open_embedder()) is Embedder
    assert open_embedder().name == open_embedder("all-MiniLM-L6-v2").name == "all-MiniLM-L6-v2"
    assert type(open_embedder(str(tmp_path))) is Embedder
    assert isinstance(open_embedder("http://127.0.0.1:9/v1:m"), EndpointEmbedder)
    assert isinstance(open_embedder("azure_openai:text-embedding-3-small"), EndpointEmbedder)


def test_builds_and_searches_an_index_with_an_endpoint(tmp_path: Path) -> None:
    chunks = corpus(150)
    with scripted_endpoint(faults={"500": 0.2, "malformed": 0.2}) as endpoint:
        name = f"{endpoint.url}:m"
        manifest = build_index(chunks, tmp_path, open_embedder(name))
        assert (manifest["model"], manifest["dimensions"], manifest["changes"]["embedded"]) == (name, 32, 150)
        assert endpoint.stats()["calls"] < 40, "texts are sent in batches"
        endpoint.reset()
        assert build_index(chunks, tmp_path, open_embedder(name))["changes"]["embedded"] == 0
        assert endpoint.stats()["calls"] == 0, "nothing is paid for twice"
        hits = open_index(tmp_path).search([chunks[42]["text"]], 1, "dense")[0]
    assert hits[0]["id"] == chunks[42]["id"]
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    # Without the endpoint, lexical retrieval still works.
    assert open_index(tmp_path).search([chunks[42]["text"]], 1, "lexical")[0][0]["id"] == chunks[42]["id"]


def test_works_inside_a_running_event_loop() -> None:
    async def inside(url: str) -> np.ndarray:
        return open_embedder(f"{url}:m").embed(["one text", "another"])

    with scripted_endpoint() as endpoint:
        vectors = asyncio.run(inside(endpoint.url))
    assert vectors.shape == (2, 32)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_names_a_refused_text_and_keeps_the_others(tmp_path: Path) -> None:
    chunks = corpus(150)
    long = {**chunks[0], "id": "long", "text": "too long " * 20}
    with scripted_endpoint() as endpoint:
        name = f"{endpoint.url}:m"
        with pytest.raises(UserError, match="'too long too long .*too large") as caught:
            build_index([*chunks, long], tmp_path, open_embedder(name))
        assert "\n" not in str(caught.value)
        manifest = build_index(chunks, tmp_path, open_embedder(name))
    assert manifest["changes"]["embedded"] < 150, "the batches embedded before were kept"


def test_reports_a_refused_key_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAFT_API_KEY", "sk-wrong-key-123456")
    with scripted_endpoint(key="sk-right") as endpoint, pytest.raises(UserError) as caught:
        open_embedder(f"{endpoint.url}:m").embed(["text"])
    assert "sk-wrong" not in str(caught.value)
    assert "RAFT_API_KEY" in str(caught.value)


def test_a_ceiling_stops_the_build_of_an_index_and_what_was_paid_is_kept(tmp_path: Path) -> None:
    chunks = [make_chunk(f"Number {number} is an otter.") for number in range(200)]
    with scripted_endpoint() as endpoint:
        name = f"{endpoint.url}:m"
        with pytest.raises(UserError, match=r"--max-calls\) is reached.* what is embedded so far is kept"):
            build_index(chunks, tmp_path, open_embedder(name, budget=Budget(max_calls=3)))
        seen: list[int] = []
        manifest = build_index(
            chunks, tmp_path, open_embedder(name), on_batch=lambda done, total: seen.append(total)
        )
    assert manifest["changes"]["embedded"] == seen[0] == 200 - 3 * 32, "each call was of half a batch of 64"
