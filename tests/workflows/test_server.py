"""The served workflow beside `pf flow serve`: the same requests get the same status and the same bytes."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_chat_flows import certain, served  # noqa: F401 - a fixture
from tests.rag.test_answer import SPEED
from tests.scripted_collector import scripted_collector
from tests.scripted_endpoint import Scripted, scripted_endpoint
from tools.raft.files import PROJECT, read_log
from tools.raft.models.endpoint import Endpoint
from tools.raft.rag.chat_retriever import ChatRetriever
from tools.raft.rag.index_store import update_manifest

pytest.importorskip("agent_framework", reason="pip install --no-deps -r requirements-agents-dev.txt")

from aiohttp import web

from workflows.server import create_app
from workflows.session import ChatSettings, open_session

KEY = "sk-a-key-nobody-must-see"
QUESTIONS = read_log(PROJECT / "data" / "questions.jsonl")


class Twin:
    """The workflow's server, in a thread of its own."""

    def __init__(self, url: str, index: Path = PROJECT / "index", **options: Any) -> None:
        self._ready, self.url = threading.Event(), ""
        self._arguments = url, index, options
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._thread.start()
        assert self._ready.wait(60)

    async def _serve(self) -> None:
        url, index, options = self._arguments
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        endpoint = Endpoint(base_url=url, model="smollm2-135m-instruct", **options)
        retriever = ChatRetriever(index, embeddings=False)
        async with open_session(retriever, [endpoint], ChatSettings(mode="lexical")) as session:
            runner = web.AppRunner(create_app(session), handler_cancellation=True)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
            self.url = "http://{}:{}".format(*runner.addresses[0])
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def post(self, body: Any, *, accept: str = "", path: str = "/score", **headers: str) -> tuple[int, bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers |= {"Accept": accept} if accept else {}
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **headers}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()


@pytest.fixture
def twin(request: pytest.FixtureRequest) -> Iterator[tuple[Twin, Scripted]]:
    with scripted_endpoint(**getattr(request, "param", {})) as endpoint:
        server = Twin(endpoint.url)
        try:
            yield server, endpoint
        finally:
            server.close()


def test_the_same_question_gets_the_same_bytes(served: tuple[Any, Scripted]) -> None:  # noqa: F811
    flow, endpoint = served
    twin = Twin(endpoint.url)
    try:
        bodies: list[dict[str, Any]] = [{"question": row["question"]} for row in QUESTIONS[:3]]
        first = flow.post("/score", json=bodies[0]).json
        history = [{"inputs": {"question": SPEED}, "outputs": first}]
        bodies += [
            {"question": "and its weight?", "chat_history": history},
            {"question": "and its weight?", "chat_history": json.dumps(history)},
            {"question": SPEED, "focus": "true", "always_answer": True, "unknown": 1},
        ]
        for body in bodies:
            for accept in (
                "",
                "application/json",
                "text/event-stream",
                "text/event-stream, application/json",
            ):
                headers = {"Accept": accept} if accept else {}
                expected = flow.post("/score", json=body, headers=headers)
                assert twin.post(body, accept=accept) == (expected.status_code, expected.data), (body, accept)
                assert expected.status_code == 200
    finally:
        twin.close()


@pytest.mark.parametrize(
    "body",
    [
        {}, {"query": "?"}, {"question": None}, {"question": ["?"]}, {"question": 5}, {"question": "  "}, b"?", b"[]",
        {"question": "?", "chat_history": 5}, {"question": "?", "chat_history": "50"},
        {"question": "?", "chat_history": ["50"]}, {"question": "?", "chat_history": None},
        {"question": "?", "focus": "maybe"}, {"question": "?", "focus": None},
    ],
    ids=str,
)  # fmt: skip
def test_the_same_mistake_gets_the_same_status(body: Any, served: tuple[Any, Scripted]) -> None:  # noqa: F811
    flow, endpoint = served
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    expected = flow.post("/score", data=data, content_type="application/json")
    endpoint.reset()
    twin = Twin(endpoint.url)
    try:
        status, raw = twin.post(body)
    finally:
        twin.close()
    assert (status, endpoint.requests()) == (400, [])
    assert (expected.status_code, expected.json["error"]["code"]) == (
        status,
        json.loads(raw)["error"]["code"],
    )


def test_a_type_that_no_reply_has_is_not_acceptable(served: tuple[Any, Scripted]) -> None:  # noqa: F811
    flow, endpoint = served
    expected = flow.post("/score", json={"question": SPEED}, headers={"Accept": "text/csv"})
    twin = Twin(endpoint.url)
    try:
        status, _ = twin.post({"question": SPEED}, accept="text/csv")
    finally:
        twin.close()
    assert status == expected.status_code == 406


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    index = shutil.copytree(PROJECT / "index", tmp_path / "refusing")
    update_manifest(index, answerability=certain(0.25))
    monkeypatch.setenv("RAFT_INDEX", str(index))
    return index


def test_a_refused_question_is_answered_alike_also_as_a_stream(
    refusing: Path,
    served: tuple[Any, Scripted],  # noqa: F811
) -> None:
    flow, endpoint = served
    twin = Twin(endpoint.url, refusing)
    try:
        for accept in ("application/json", "text/event-stream"):
            expected = flow.post("/score", json={"question": SPEED}, headers={"Accept": accept})
            assert twin.post({"question": SPEED}, accept=accept) == (expected.status_code, expected.data)
            assert expected.status_code == 200 and b"unlikely to hold an answer" in expected.data
    finally:
        twin.close()
    assert not endpoint.requests()


def test_only_the_fields_that_a_deployment_includes_are_sent(
    monkeypatch: pytest.MonkeyPatch, twin: tuple[Twin, Scripted]
) -> None:
    monkeypatch.setenv("PROMPTFLOW_RESPONSE_INCLUDED_FIELDS", '["reply"]')
    server = Twin(twin[1].url)
    try:
        _, raw = server.post({"question": SPEED})
        _, streamed = server.post({"question": SPEED}, accept="text/event-stream")
    finally:
        server.close()
    assert list(json.loads(raw)) == ["reply"]
    assert {name for event in streamed.split(b"\n\n")[:-1] for name in json.loads(event[6:])} == {"reply"}


@pytest.mark.parametrize("twin", [{"latency": 1.0}], indirect=True)
def test_pieces_are_sent_as_they_are_generated(twin: tuple[Twin, Scripted]) -> None:
    server, _ = twin
    body = json.dumps({"question": SPEED}).encode()
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    seconds, started = [], time.monotonic()
    with urllib.request.urlopen(urllib.request.Request(f"{server.url}/score", body, headers)) as reply:
        assert reply.headers.get_content_type() == "text/event-stream"
        for line in reply:
            if line.strip():
                seconds.append(time.monotonic() - started)
    assert len(seconds) > 7 and seconds[1] < seconds[-1] / 2


@pytest.mark.parametrize("twin", [{"latency": 0.5}], indirect=True)
def test_64_clients_wait_for_the_model_together(twin: tuple[Twin, Scripted]) -> None:
    server, endpoint = twin
    started = time.monotonic()
    with ThreadPoolExecutor(64) as pool:
        asked = [{"question": f"{SPEED} Answer number {number}."} for number in range(64)]
        replies = list(pool.map(server.post, asked))
    assert {status for status, _ in replies} == {200}
    assert endpoint.stats()["max_in_flight"] > 32
    assert time.monotonic() - started < 64 * 0.5 / 4


@pytest.mark.parametrize("twin", [{"latency": 30.0}], indirect=True)
def test_a_client_that_goes_away_ends_its_call(twin: tuple[Twin, Scripted]) -> None:
    server, endpoint = twin
    request = urllib.request.Request(f"{server.url}/score", json.dumps({"question": SPEED}).encode())
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(request, timeout=1)
    for _ in range(50):
        if not endpoint.stats()["in_flight"]:
            return
        time.sleep(0.1)
    pytest.fail("the model is still asked")


def test_a_refused_key_is_an_error_that_does_not_show_it() -> None:
    with scripted_endpoint(key="sk-the-right-key") as endpoint:
        server = Twin(endpoint.url, key=KEY)
        try:
            for accept in ("application/json", "text/event-stream"):
                status, raw = server.post({"question": SPEED}, accept=accept)
                assert status == 400 and b"refused the call" in raw and KEY.encode() not in raw
        finally:
            server.close()


def test_health_page_and_feedback(twin: tuple[Twin, Scripted]) -> None:
    server, _ = twin
    with urllib.request.urlopen(f"{server.url}/health") as reply:
        assert json.load(reply)["status"] == "Healthy"
    with urllib.request.urlopen(f"{server.url}/") as reply:
        assert b"<form>" in reply.read()
    assert server.post({"helpful": False}, path="/feedback?flatten=true")[0] == 200


def start(*arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "workflows.serve", "--mode", "lexical", "--port", "0", *arguments],
        cwd=PROJECT, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@contextmanager
def running(**env: str) -> Iterator[Twin]:
    """Run the command until the block ends; it must then stop without a failure."""
    process = start(env=env)
    try:
        assert process.stdout is not None
        line = next((line for line in process.stdout if line.startswith("serving ")), "")
        server = Twin.__new__(Twin)
        server.url = line.split(" at ")[-1].strip()
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors


def test_the_command_checks_the_model_serves_and_stops() -> None:
    with scripted_endpoint() as endpoint, running(RAFT_CONNECTION=f"{endpoint.url}:mine") as server:
        assert endpoint.stats()["calls"] == 2, "a call and a question before it listens"
        assert server.post({"question": SPEED})[0] == 200
        assert {request["model"] for request in endpoint.requests()} == {"mine"}


def test_spans_reach_a_collector_without_prompts() -> None:
    export = importlib.import_module("opentelemetry.sdk._logs.export")
    if not hasattr(export, "LogRecordExporter"):
        pytest.skip(
            "Agent Framework exports with opentelemetry-sdk 1.39 or later, promptflow with an earlier one"
        )
    trace = "0af7651916cd43dd8448eb211c80319c"
    header = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    with scripted_collector() as collector, scripted_endpoint() as endpoint:
        settings = {"RAFT_CONNECTION": f"{endpoint.url}:mine", **collector.otlp}
        with running(**settings) as server:
            assert server.post({"question": SPEED}, **header)[0] == 200
            assert server.post({"helpful": False}, path="/feedback?flatten=true", **header)[0] == 200
    spans = {span.name: span.attributes for span in collector.spans()}
    assert {"chat mine", "promptflow-feedback", "executor.process search_index"} <= spans.keys()
    assert (
        spans["chat mine"]["gen_ai.usage.input_tokens"] > 0
        and spans["promptflow-feedback"]["helpful"] is False
    )
    assert any(bytes.fromhex(trace) in body for _, _, body in collector.received), (
        "in the trace of its request"
    )
    assert SPEED not in collector.text(), "prompts stay here, unless ENABLE_SENSITIVE_DATA is set"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--base-url", "http://127.0.0.1:9/v1", "--model", "m"], "nothing answers at http://127.0.0.1:9/v1"),
        (["--connection", "nobody:m"], "there is no connection 'nobody'"),
        (["--index", "nowhere", "--base-url", "http://127.0.0.1:9/v1", "--model", "m"], "nowhere"),
    ],
)
def test_a_start_that_could_only_answer_with_errors_ends_in_one_line(
    arguments: list[str], message: str
) -> None:
    process = start(*arguments, env={})
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, 3)
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert message in line and "Traceback" not in errors
