"""The client against an endpoint that fails in every way that endpoints do."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import logging
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.scripted_endpoint import Scripted, scripted_endpoint, write_reply
from tools.raft.errors import CallsFailed
from tools.raft.files import PROJECT
from tools.raft.models import client as client_module, sender as sender_module
from tools.raft.models.cache import FILE
from tools.raft.models.client import Client
from tools.raft.models.endpoint import Endpoint, resolve_endpoint
from tools.raft.models.failed_calls import CallFailed, EndpointRefused
from tools.raft.models.lane import Lane
from tools.raft.models.pool import Pool
from tools.raft.models.rate_limit import RateLimiter, backoff, retry_after
from tools.raft.models.reply import Reply
from tools.raft.prompts import render

ROOT = PROJECT
KEY = "sk-proj-a1B2c3D4e5F6g7H8"
DOCUMENT = "The lesser horseshoe bat hangs free from the roof. An adult weighs between five and nine grams."


def prompt(number: int = 0) -> list[dict[str, str]]:
    """Render the answer prompt of one question."""
    return render(
        "answer_question.jinja2",
        chunk=f"{DOCUMENT} Bat {number} is old.",
        question=f"How heavy is bat {number}?",
    )


def run(
    endpoint: Endpoint | str, count: int = 1, *, cache: Path | None = None, first: int = 0, max_tokens: int = 200,
    **options: Any,
) -> tuple[list[Reply | BaseException], Client]:  # fmt: skip
    """Ask `count` different questions at once and return the reply to each, or its exception."""
    options.setdefault("timeout", 10.0)
    target = resolve_endpoint(f"{endpoint}:m", env={}) if isinstance(endpoint, str) else endpoint

    async def main() -> tuple[list[Reply | BaseException], Client]:
        async with Client(target, cache_dir=cache, **options) as client:
            calls = (
                client.ask(prompt(n), max_tokens=max_tokens, seed=1) for n in range(first, first + count)
            )
            return await asyncio.gather(*calls, return_exceptions=True), client

    return asyncio.run(main())


@pytest.fixture(scope="module")
def plain() -> Iterator[Scripted]:
    with scripted_endpoint() as endpoint:
        yield endpoint


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between attempts, except those that a server asks for."""
    monkeypatch.setattr(sender_module, "backoff", lambda failures: min(backoff(failures), 0.05))


def test_returns_the_reply_and_counts_usage(plain: Scripted) -> None:
    plain.reset()
    [reply], client = run(plain.url)
    assert isinstance(reply, Reply)
    assert reply.text == write_reply("\n".join(message["content"] for message in prompt()))
    assert (reply.finish_reason, reply.cached) == ("stop", False)
    stats = plain.stats()
    assert (client.usage.calls, client.usage.prompt_tokens, client.usage.completion_tokens) == (
        stats["answered"], stats["prompt_tokens"], stats["completion_tokens"],
    )  # fmt: skip


def test_sends_one_prompt_to_the_completion_api(plain: Scripted) -> None:
    plain.reset()
    [reply], _ = run(replace(resolve_endpoint(f"{plain.url}:m", env={}), api="completion"))
    assert isinstance(reply, Reply)
    assert "<ANSWER>:" in reply.text
    assert plain.stats()["paths"] == {"/v1/completions": 1}


def test_a_second_run_pays_nothing(plain: Scripted, tmp_path: Path) -> None:
    plain.reset()
    first, paid = run(plain.url, 20, cache=tmp_path)
    again, free = run(plain.url, 20, cache=tmp_path)
    assert plain.stats()["calls"] == 20
    assert [r.text for r in first] == [r.text for r in again]  # type: ignore[union-attr]
    assert all(reply.cached for reply in again)  # type: ignore[union-attr]
    assert (free.usage.calls, free.usage.cached_calls) == (0, 20)
    assert free.usage.cached_prompt_tokens == paid.usage.prompt_tokens


def test_different_requests_never_share_a_reply(plain: Scripted, tmp_path: Path) -> None:
    plain.reset()
    endpoint = resolve_endpoint(f"{plain.url}:m", env={})

    async def main() -> None:
        async with Client(endpoint, cache_dir=tmp_path) as client:
            for options in (
                {}, {"seed": 1}, {"seed": 2}, {"attempt": 1}, {"seed": 1, "attempt": 1}, {"temperature": 0.5},
                {"max_tokens": 51}, {"stop": ["\n\n"]}, {"extra": {"grammar": "root ::= [0-9]+"}},
            ):  # fmt: skip
                reply = await client.ask(prompt(), **{"max_tokens": 50, **options})
                assert not reply.cached, options
        for other in (replace(endpoint, model="n"), replace(endpoint, api="completion")):
            async with Client(other, cache_dir=tmp_path) as client:
                assert not (await client.ask(prompt(), max_tokens=50)).cached

    asyncio.run(main())
    assert plain.stats()["calls"] == 11


def test_identical_calls_in_flight_are_paid_for_once(plain: Scripted) -> None:
    plain.reset()

    async def main() -> list[Reply]:
        async with Client(resolve_endpoint(f"{plain.url}:m", env={}), cache_dir=None) as client:
            return await asyncio.gather(*(client.ask(prompt(), max_tokens=50) for _ in range(10)))

    replies = asyncio.run(main())
    assert plain.stats()["calls"] == 1
    assert sum(reply.cached for reply in replies) == 9
    assert len({reply.text for reply in replies}) == 1


def test_cancelling_a_call_does_not_cancel_an_identical_one() -> None:
    with scripted_endpoint(latency=0.3) as endpoint:

        async def main() -> Reply:
            async with Client(resolve_endpoint(f"{endpoint.url}:m", env={}), cache_dir=None) as client:
                first = asyncio.create_task(client.ask(prompt(), max_tokens=50))
                second = asyncio.create_task(client.ask(prompt(), max_tokens=50))
                await asyncio.sleep(0.1)
                first.cancel()
                return await second

        assert "<ANSWER>:" in asyncio.run(main()).text


def test_survives_transient_faults_without_paying_twice(tmp_path: Path) -> None:
    faults = {"500": 0.1, "429": 0.1, "malformed": 0.1, "hang": 0.03, "truncated": 0.1}
    with scripted_endpoint(faults=faults, retry_after=0.1) as endpoint:
        replies, client = run(endpoint.url, 150, cache=tmp_path, concurrency=30, timeout=1.0)
        stats = endpoint.stats()
    assert all(isinstance(reply, Reply) for reply in replies)
    assert stats["answered"] == 150
    assert stats["paid_twice"] == 0
    assert all(stats["faults"][kind] > 0 for kind in faults)
    assert client.usage.retries == stats["calls"] - 150
    assert client.usage.throttled == stats["faults"]["429"]
    cut = sum(reply.finish_reason == "length" for reply in replies)  # type: ignore[union-attr]
    assert cut == stats["faults"]["truncated"]


def test_a_permanent_fault_ends_in_a_one_line_error() -> None:
    with scripted_endpoint(faults={"500": 1.0}) as endpoint:
        [failed], client = run(endpoint.url, attempts=3)
        assert isinstance(failed, CallFailed)
        assert failed.reason == "no usable reply in 3 tries, the last: HTTP 500: The server had an error."
        assert endpoint.stats()["calls"] == 3
        assert client.usage.failed == 1


def test_does_not_cache_unusable_replies(tmp_path: Path) -> None:
    with scripted_endpoint(faults={"malformed": 1.0}) as endpoint:
        failed, _ = run(endpoint.url, 8, cache=tmp_path, attempts=2)
    assert all("HTTP 200 with" in str(error) for error in failed)
    assert client_module.Cache(tmp_path).count() == 0


def test_serves_every_call_despite_a_storm_of_429s() -> None:
    with scripted_endpoint(latency=0.05, max_concurrent=6, retry_after=0.2) as endpoint:
        replies, client = run(endpoint.url, 150, concurrency=64)
        stats = endpoint.stats()
    assert all(isinstance(reply, Reply) for reply in replies)
    assert client.lanes[0].limiter.cuts >= 2
    assert client.lanes[0].limiter.limit < 32
    # 64 calls at a time without slowing down would get about a thousand 429s before the last is served
    assert stats["faults"]["quota"] < 250


def test_keeps_to_a_limit_of_calls_per_second() -> None:
    with scripted_endpoint(rate=60, burst=10) as endpoint:
        started = time.monotonic()
        replies, _ = run(endpoint.url, 120, concurrency=64)
        spent = time.monotonic() - started
    assert all(isinstance(reply, Reply) for reply in replies)
    assert 110 / 60 * 0.9 < spent < 15


def test_makes_no_call_before_retry_after_has_passed() -> None:
    """Every call within a second of the first one gets a 429 with a Retry-After of one second."""
    refused: list[float] = []

    class Throttling(_Recorder):
        headers_seen: ClassVar[list[dict[str, str]]] = []

        def do_POST(self) -> None:
            now = time.monotonic()
            if refused and now - refused[0] >= 1:
                super().do_POST()
                return
            refused.append(now)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(429)
            self.send_header("Retry-After", "1")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with recorder(handler=Throttling) as (url, _):
        replies, client = run(url, 40, concurrency=16)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert client.lanes[0].limiter.cuts == 1
    assert len(refused) <= 18  # the first two 429s, not yet a burst, let two more calls through


def test_the_limit_halves_once_per_burst_and_recovers() -> None:
    limiter = RateLimiter(64)
    marks = [limiter.begin() for _ in range(64)]
    for mark in marks:
        limiter.throttled(mark, 0.05)
        limiter.end()
    assert (limiter.limit, limiter.cuts) == (32, 1)
    now = time.monotonic()
    assert not limiter.has_room(now)  # every call waits, not only the throttled ones
    assert limiter.has_room(now + 0.06)
    for _ in range(1600):
        limiter.succeeded()
    assert limiter.limit > 60
    for _ in range(64 * 64):
        limiter.succeeded()
    assert limiter.limit == 64
    for _ in range(2):  # two single 429s among thousands of successes are not a burst
        limiter.throttled(limiter.cuts, 5)
        limiter.throttled(limiter.cuts, 5)
    assert limiter.limit == 64
    assert limiter.has_room(now + 0.06)


def test_a_cancelled_wait_passes_its_slot_on(plain: Scripted) -> None:
    async def main() -> None:
        lane = Lane(resolve_endpoint(f"{plain.url}:m", env={}), concurrency=1, timeout=1)
        pool = Pool([lane], 1)
        taken = await pool.acquire()
        waiting = [asyncio.create_task(pool.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        pool.release(taken)  # gives the slot to the second
        waiting[1].cancel()  # at the moment when it has been granted
        await asyncio.gather(*waiting[:2], return_exceptions=True)
        await asyncio.wait_for(waiting[2], 1)
        assert lane.limiter.active == 1

    asyncio.run(main())


def test_parses_retry_after_in_all_its_forms() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "0.5"}) == 0.5
    assert retry_after({"retry-after-ms": "1500", "retry-after": "2"}) == 1.5
    in_20_seconds = email.utils.formatdate(time.time() + 20, usegmt=True)
    assert retry_after({"retry-after": in_20_seconds}) == pytest.approx(20, abs=2)
    assert retry_after({"retry-after": email.utils.formatdate(time.time() - 20, usegmt=True)}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_backoff_grows_and_stays_bounded() -> None:
    assert all(0 <= backoff(1) <= 1 for _ in range(200))
    assert max(backoff(4) for _ in range(500)) > 2
    assert all(backoff(1000) <= 30 for _ in range(200))


@pytest.mark.parametrize(
    ("status", "code", "line"),
    [
        (401, "invalid_api_key", "refused the call .HTTP 401.*check THE_KEY and its permissions"),
        (403, "forbidden", "refused the call .HTTP 403"),
        (404, "model_not_found", "does not exist .*check address and model name"),
        (402, "no_credit", "requires payment"),
        (429, "insufficient_quota", "check plan and billing"),
    ],
)
def test_an_error_that_no_retry_can_fix_stops_the_run_at_once(status: int, code: str, line: str) -> None:
    with scripted_endpoint(always=status, code=code) as endpoint:
        target = Endpoint(endpoint.url, "m", key=KEY, name="mine", key_from="THE_KEY")
        [refused], _ = run(target)
        assert isinstance(refused, EndpointRefused)
        assert endpoint.stats()["calls"] == 1
    assert re.search(line, str(refused)), refused
    assert "\n" not in str(refused)


def test_reports_a_missing_key() -> None:
    with scripted_endpoint(key=KEY) as endpoint:
        [refused], _ = run(endpoint.url)
    assert "requires a key, but none is set" in str(refused)


def test_does_not_wait_until_tomorrow() -> None:
    with scripted_endpoint(faults={"429": 1.0}, retry_after=86400) as endpoint:
        [refused], _ = run(endpoint.url)
    assert isinstance(refused, EndpointRefused)
    assert "asks to wait 86400 s" in str(refused)


def test_reports_an_address_where_nothing_answers(caplog: pytest.LogCaptureFixture) -> None:
    [refused], _ = run("http://127.0.0.1:9/v1", attempts=3)
    assert isinstance(refused, EndpointRefused)
    assert "nothing answers at http://127.0.0.1:9/v1" in str(refused)
    assert "trying again" in caplog.text


def test_a_content_filter_fails_only_its_own_call() -> None:
    with scripted_endpoint(block="bat 1?") as endpoint:
        replies, client = run(endpoint.url, 3)
        assert endpoint.stats()["calls"] == 3
    assert [type(reply).__name__ for reply in replies] == ["Reply", "CallFailed", "Reply"]
    assert "content filter" in str(replies[1])
    assert client.usage.failed == 1


def test_leaves_out_parameters_that_a_model_does_not_support(caplog: pytest.LogCaptureFixture) -> None:
    with scripted_endpoint(refuse=["max_tokens", "temperature", "seed"]) as endpoint:
        replies, client = run(endpoint.url, 20, concurrency=4)
        stats = endpoint.stats()
    assert all(isinstance(reply, Reply) for reply in replies)
    assert client.lanes[0].unsupported == {
        "max_tokens": "max_completion_tokens",
        "temperature": "",
        "seed": "",
    }
    assert stats["faults"]["400"] <= 3 * 4  # learnt by the calls in flight, not by every call
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 3


def test_calls_azure_openai_with_its_path_version_and_header() -> None:
    with scripted_endpoint(key=KEY) as endpoint:
        base = endpoint.url.removesuffix("/v1")
        [reply], _ = run(Endpoint(base, "my-gpt", kind="azure_openai", api_version="2024-10-21", key=KEY))
        assert isinstance(reply, Reply), reply
        stats = endpoint.stats()
    assert stats["paths"] == {"/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21": 1}
    assert stats["auth"] == {"api-key": 1, "authorization": 0}


def test_signs_in_to_entra_id_for_azure_openai_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity

    scopes = []

    def provider(credential: object, scope: str) -> Any:
        scopes.append(scope)
        return lambda: "entra-token-0123456789"

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", lambda: object())
    monkeypatch.setattr(azure.identity, "get_bearer_token_provider", provider)
    with scripted_endpoint(key="entra-token-0123456789") as endpoint:
        base = endpoint.url.removesuffix("/v1")
        for version, url in (("2024-10-21", base), ("", f"{base}/openai/v1")):
            [reply], _ = run(Endpoint(url, "my-gpt", kind="azure_openai", api_version=version))
            assert isinstance(reply, Reply), reply
        assert endpoint.stats()["auth"] == {"api-key": 0, "authorization": 2}
    assert scopes == ["https://cognitiveservices.azure.com/.default"] * 2


def test_reports_a_failed_sign_in_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import azure.identity
    from azure.core.exceptions import ClientAuthenticationError

    def fail() -> str:
        raise ClientAuthenticationError("no token\nfor you")

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", lambda: object())
    monkeypatch.setattr(azure.identity, "get_bearer_token_provider", lambda credential, scope: fail)
    [refused], _ = run(Endpoint("http://127.0.0.1:9", "gpt", kind="azure_openai", api_version="2024-10-21"))
    assert isinstance(refused, EndpointRefused)
    assert "signing in to Entra ID failed (no token for you): run `az login`" in str(refused)


class _Recorder(BaseHTTPRequestHandler):
    headers_seen: ClassVar[list[dict[str, str]]] = []
    answer = b'{"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}'

    def do_POST(self) -> None:
        type(self).headers_seen.append({name.lower(): value for name, value in self.headers.items()})
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.answer)))
        self.end_headers()
        self.wfile.write(self.answer)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        """Suppress the log."""


@contextmanager
def recorder(
    answer: bytes = _Recorder.answer, handler: type[_Recorder] | None = None
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve one fixed reply from this process and record the headers of the calls."""
    handler = handler or type("Handler", (_Recorder,), {"headers_seen": [], "answer": answer})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", handler.headers_seen
    finally:
        server.shutdown()
        server.server_close()


def test_sends_openais_own_variables_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with recorder() as (url, seen):
        [reply], client = run(url)
    assert isinstance(reply, Reply)
    sent = " ".join(seen[0].values())
    assert KEY not in sent
    assert "-mine" not in sent
    assert client.usage.unmetered == 1  # this endpoint reports no tokens


def test_uses_a_proxy_for_remote_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with recorder() as (proxy, through_proxy), recorder() as (local, direct):
        for name in ("HTTP_PROXY", "http_proxy"):
            monkeypatch.setenv(name, proxy.removesuffix("/v1"))
        assert isinstance(run(local)[0][0], Reply)
        assert (len(direct), len(through_proxy)) == (1, 0)
        assert isinstance(run("http://model.example/v1")[0][0], Reply)
        assert (len(direct), len(through_proxy)) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        (
            b'{"choices": [{"message": {"content": "half"}, "finish_reason": "content_filter"}]}',
            "content filter",
        ),
        (
            b'{"choices": [{"message": {"content": null, "refusal": "I will not."}}]}',
            "the model refused: I will not",
        ),
        (b'{"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}', "empty reply"),
        (b"<!DOCTYPE html>\n<html>Sign in &gt;</html>", "HTTP 200 with a web page: Sign in >"),
        (b'{"error": "busy"}', "HTTP 200 with an error: busy"),
        (b'{"error": {"message": "no such model", "code": 500}}', "HTTP 500: an error: no such model"),
        (
            b'{"detail": [{"loc": ["body", "messages"], "msg": "field required"}]}',
            "body.messages: field required",
        ),
        (b'[{"error": {"code": 400, "message": "bad"}}]', "an error: bad"),
        (b'{"choices": null}', "HTTP 200 with no choices"),
        (b'{"choices": []}', "HTTP 200 with no choices"),
        (b'{"object": "list"}', 'no usable reply: {"object": "list"}'),
        (b"", "an empty body"),
        (b'{"choices": [{"mess', "JSON that breaks off"),
        (b"Service busy", "text that is not JSON: Service busy"),
        (b'data: {"choices": []}', "an event stream"),
        (
            b'{"choices": [{"message": {"content": [{"type": "image_url"}]}}]}',
            "without text, of parts image_url",
        ),
        (b'{"choices": [{"message": {"content": "", "reasoning_content": "Hm."}}]}', "reasoning only"),
        (b'{"choices": [{"message": {"content": "<think>Hm.</think>"}}]}', "reasoning only"),
        (b'{"choices": [{"message": {"content": null, "tool_calls": [{}]}}]}', "calls a tool"),
    ],
)
def test_reports_why_a_reply_is_unusable(answer: bytes, line: str) -> None:
    with recorder(answer) as (url, _):
        [failed], _ = run(url, attempts=2)
    assert isinstance(failed, CallFailed)
    assert line in failed.reason


@pytest.mark.parametrize(
    "message",
    [
        '{"content": [{"type": "text", "text": "y"}, {"type": "output_text", "text": "es"}]}',
        '{"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "no"}]}, "yes"]}',
        '{"content": {"type": "text", "text": "yes"}}',
        '{"content": "<think>no</think>yes"}',
        '{"content": "is it?\\n</think>\\n\\nyes", "reasoning": null}',
        '{"content": "<|channel|>analysis<|message|>no<|end|><|start|>assistant<|channel|>final<|message|>yes"}',
        '{"content": "yes", "reasoning_content": "no"}',
    ],
)
def test_reads_the_answer_in_every_form_of_a_message(message: str) -> None:
    with recorder(f'\ufeff{{"choices": [{{"message": {message}}}]}}'.encode()) as (url, _):
        [reply], _ = run(url)
    assert isinstance(reply, Reply), reply
    assert reply.text == "yes"


def test_leaves_room_for_thoughts_that_use_up_the_tokens(tmp_path: Path) -> None:
    thoughts = "<think>\nWhat should I ask first?\n</think>\n\n"
    with scripted_endpoint(thoughts=thoughts, thought_tokens=1000) as endpoint:
        [reply], client = run(endpoint.url, cache=tmp_path)
        assert isinstance(reply, Reply)
        assert (reply.finish_reason, client.usage.calls) == ("stop", 2)
        assert reply.text.startswith("The question is answered by")
        [again], client = run(endpoint.url, cache=tmp_path)
        assert isinstance(again, Reply)
        assert (again.text, client.usage.calls) == (reply.text, 0)
        assert again.completion_tokens == reply.completion_tokens, "both calls were paid for"
        endpoint.reset()

        async def ask_in_turn() -> None:
            target = resolve_endpoint(f"{endpoint.url}:m", env={})
            async with Client(target, cache_dir=None) as client:
                for number in range(3):
                    await client.ask(prompt(number), max_tokens=200)

        asyncio.run(ask_in_turn())
        assert [body["max_tokens"] for body in endpoint.requests()] == [200, 4296, 4296, 4296]


def test_a_model_that_thinks_without_end_is_reported_as_such(tmp_path: Path) -> None:
    with scripted_endpoint(thoughts="<think>Hm. " * 20, thought_tokens=9999) as endpoint:
        [reply], _ = run(endpoint.url, cache=tmp_path)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason) == ("", "length")


def test_thoughts_in_the_cache_of_an_earlier_version_are_left_out(tmp_path: Path) -> None:
    with recorder() as (url, _):
        run(url, cache=tmp_path)
        database = sqlite3.connect(tmp_path / FILE)
        database.execute("UPDATE reply SET text = '<think>no</think>' || text")
        database.commit()
        [reply], client = run(url, cache=tmp_path)
    assert isinstance(reply, Reply)
    assert (reply.text, client.usage.calls) == ("yes", 0)


@contextmanager
def raw_server(answer: bytes, *, reset: bool = False) -> Iterator[str]:
    """Serve a connection by reading the request, sending these bytes and closing."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.recv(1 << 16)
                connection.sendall(answer)
                if reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.close()


@pytest.mark.parametrize(
    ("answer", "reset", "line"),
    [
        (b"", False, "the server closed the connection"),
        (b"", True, "the server reset the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", False, "the reply broke off"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False, "what came back is not HTTP"),
    ],
)
def test_reports_what_happened_to_the_connection(answer: bytes, reset: bool, line: str) -> None:
    with raw_server(answer, reset=reset) as url:
        [failed], _ = run(url, attempts=2)
    assert isinstance(failed, CallsFailed) and failed.status == 3
    assert line in str(failed)
    assert "no answer in" not in str(failed)


@pytest.mark.parametrize(
    ("url", "line"),
    [
        ("http://127.0.0.1:9/v1", "the connection is refused: no server listens there"),
        ("http://localhost:9/v1", "the connection is refused: no server listens there"),
        ("http://no-such-host.invalid/v1", "the host name is not known"),
    ],
)
def test_reports_why_there_is_no_connection(url: str, line: str) -> None:
    [failed], _ = run(url, attempts=1)
    assert line in str(failed)


def test_reports_a_server_without_tls() -> None:
    with recorder() as (url, _):
        [failed], _ = run(url.replace("http://", "https://"), attempts=1)
    assert "no TLS connection: does the server speak https?" in str(failed)


def test_returns_a_reply_cut_off_before_its_first_word(tmp_path: Path) -> None:
    with recorder(b'{"choices": [{"message": {"content": null}, "finish_reason": "length"}]}') as (url, _):
        [reply], _ = run(url, cache=tmp_path)
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason) == ("", "length")


def test_can_store_a_lone_surrogate(tmp_path: Path) -> None:
    with recorder(b'{"choices": [{"message": {"content": "a\\ud83d b"}, "finish_reason": "stop"}]}') as (
        url,
        _,
    ):
        [reply], _ = run(url, cache=tmp_path)
    assert isinstance(reply, Reply)
    assert reply.text == "a? b"


def test_the_key_never_appears_in_output_or_cache(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with scripted_endpoint(key=KEY, faults={"500": 0.3, "malformed": 0.3}) as endpoint:
        good = Endpoint(endpoint.url, "m", key=KEY, name="mine", key_from="THE_KEY")
        replies, _ = run(good, 20, cache=tmp_path, attempts=9)
        wrong = replace(good, key=KEY[:-1] + "x")  # the server echoes the key it was sent
        [refused], client = run(wrong, first=50)
        unreachable, _ = run(replace(good, base_url="http://127.0.0.1:9/v1"), first=60, attempts=2)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert "[key]" in str(refused)
    assert "check THE_KEY" in str(refused)
    shown = [
        caplog.text,
        *capfd.readouterr(),
        repr(client.endpoint),
        str(client.endpoint),
        repr(client.usage),
    ]
    for error in (refused, *unreachable):
        while isinstance(error, BaseException):
            shown.append(f"{error!r} {error}")
            error = error.__cause__ or error.__context__
    stored = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (KEY, wrong.key):
        assert [text for text in shown if secret in text] == []
        assert secret.encode() not in stored
    assert len(stored) > 1000


ASKER = """
import asyncio, sys
from pathlib import Path
from tests.models.test_client import prompt
from tools.raft.models.client import Client
from tools.raft.models.endpoint import resolve_endpoint

async def main():
    async with Client(resolve_endpoint(sys.argv[1] + ":m", env={}), cache_dir=Path(sys.argv[2]), concurrency=8) as client:
        async def ask(number):
            reply = await client.ask(prompt(number), max_tokens=200, seed=1)
            print(number, reply.text.replace(chr(10), " "), flush=True)
        await asyncio.gather(*(ask(number) for number in range(120)))

asyncio.run(main())
"""


@pytest.mark.parametrize("stop_signal", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_run_repeats_only_the_calls_in_flight(
    tmp_path: Path, stop_signal: signal.Signals
) -> None:
    command = [sys.executable, "-c", ASKER]
    with scripted_endpoint(latency=0.05) as endpoint:
        process = subprocess.Popen(
            [*command, endpoint.url, str(tmp_path)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        before = [process.stdout.readline() for _ in range(50)]
        process.send_signal(stop_signal)
        before += process.stdout.readlines()
        process.wait(20)
        paid = endpoint.stats()["answered"]
        after = subprocess.run(
            [*command, endpoint.url, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        stats = endpoint.stats()
    assert 50 <= paid < 120
    assert stats["paid_twice"] <= 8
    assert stats["answered"] == 120 + stats["paid_twice"]
    lines = after.stdout.splitlines()
    assert len(lines) == 120
    assert {line.rstrip("\n") for line in before if line.endswith("\n")} <= set(lines)


def test_makes_hundreds_of_calls_at_a_time() -> None:
    with scripted_endpoint(latency=1.0) as endpoint:
        replies, _ = run(endpoint.url, 512, concurrency=512)
        assert endpoint.stats()["max_in_flight"] == 512
    assert all(isinstance(reply, Reply) for reply in replies)


def test_a_slow_machine_may_take_longer_for_the_embedded_model() -> None:
    with scripted_endpoint(latency=1.5) as endpoint:
        impatient, _ = run(endpoint.url, timeout=0.5, attempts=1)
        served = replace(resolve_endpoint("embedded", env={}), base_url=endpoint.url)
        patient, client = run(served, timeout=0.5, attempts=1)
    assert not isinstance(impatient[0], Reply) and "no answer in 0.5 s" in str(impatient[0])
    assert isinstance(patient[0], Reply) and client.usage.retries == 0


def test_time_in_the_queue_does_not_count_against_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand calls started at once may queue for hours; only their own attempts count."""
    monkeypatch.setattr(sender_module, "PATIENCE", 0.0)
    with scripted_endpoint(latency=0.05, faults={"500": 0.2}) as endpoint:
        replies, _ = run(endpoint.url, 40, concurrency=2, timeout=0.15, attempts=9)
    assert all(isinstance(reply, Reply) for reply in replies)
