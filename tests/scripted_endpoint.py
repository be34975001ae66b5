"""A scripted OpenAI-compatible endpoint in a process of its own: what tests and speed runs talk to.

    python -m tests.scripted_endpoint --port 8900 --latency 1.0 --faults 500=0.05,429=0.05,hang=0.01

What it writes depends on the request alone, so two runs of the same questions get the same answers.
Faults are drawn from a hash of seed and request: those of the wire (500, 429, malformed, hang) again at
each attempt, those of the text (truncated, untagged) once and for all, as a model at a fixed seed would.
`GET /stats` counts, `GET /bodies` shows the last requests, `POST /reset` starts both again. The HTTP is done
by hand on an asyncio protocol, because the server shares two cores with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import hashlib
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

WIRE_FAULTS = ("500", "429", "malformed", "hang")
TEXT_FAULTS = ("truncated", "untagged")
STREAM = "text/event-stream"

_DOCUMENT = re.compile(r"<DOCUMENT>(.*?)</DOCUMENT>", re.DOTALL)
_QUESTION = re.compile(r"^Question: *(.+)$", re.MULTILINE)
_COUNT = re.compile(r"[Ww]rite (\d+) questions?")
_SENTENCE = re.compile(r"[^\n.!?。！？]+(?:[.!?。！？]+|(?=\n)|\Z)")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")
_CALL = re.compile(r"[A-Za-z_][\w.]*\([^()\n]*\)")
_ASKS = ("What is known about {}?", "What should a reader know about {}?", "What can be said of {}?",
         "Which fact concerns {}?", "What holds for {}?", "What is worth knowing about {}?")  # fmt: skip


@functools.lru_cache(maxsize=50_000)
def _sentences(document: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Cut a document into verbatim sentences, each with the set of its words."""
    found = [match.group().strip() for match in _SENTENCE.finditer(document)]  # never across a line end
    found = [text for text in found if len(text) > (4 if text > "\u3400" else 12)] or [document.strip()[:200]]
    return tuple((text, frozenset(word.lower() for word in _WORD.findall(text))) for text in found)


def embed_texts(request: Mapping[str, Any]) -> tuple[int, bytes]:
    """Count the words of each text in 32 places; more than 50 texts, or a text of "too long", get a 400."""
    texts = request["input"]
    if len(texts) > 50 or any("too long" in text for text in texts):
        return 400, _error("The input is too large.", "invalid_request")
    rows = []
    for index, text in enumerate(texts):
        places = Counter(
            hashlib.sha256(word.lower().encode()).digest()[0] % 32 for word in _WORD.findall(text)
        )
        rows.append({"index": index, "embedding": [places[place] + 0.001 for place in range(32)]})
    rows.reverse()  # nothing says that they come in order
    usage = {"prompt_tokens": sum(len(text.split()) for text in texts)}
    return 200, json.dumps({"object": "list", "data": rows, "usage": usage}).encode()


def write_questions(document: str, count: int) -> str:
    """Write `count` different questions about the sentences of a document, one a line."""
    sentences = _sentences(document)
    lines: dict[str, None] = {}
    for number in range(40 * count):
        text = sentences[number % len(sentences)][0]
        words = _WORD.findall(re.sub(r"[\w.]+\(", " ", text))  # a task must not name its call
        turn = number // len(sentences)
        joint = "" if words and words[0] > "\u3400" else " "
        topic = joint.join(words[turn % 3 : turn % 3 + (5 if joint else 12)])
        if topic:
            lines[_ASKS[(turn // 3) % len(_ASKS)].format(topic)] = None
        if len(lines) == count:
            break
    return "\n".join(lines)


def write_answer(document: str, question: str, tagged: bool = True, as_code: bool = False) -> str:
    """Answer from the sentence that shares most words with the question, quoted verbatim."""
    asked = frozenset(word.lower() for word in _WORD.findall(question))
    sentence = max(_sentences(document), key=lambda entry: len(entry[1] & asked) / (8 + len(entry[1])))[0]
    body = sentence.rstrip(".!?。！？")
    words = body.split()
    short = " ".join(words[-max(2, len(words) // 2) :]) if len(words) > 3 else body
    if as_code and (call := _CALL.search(document)):
        short = call.group()
    return (
        f"The question is answered by one passage. It says: ##begin_quote##{sentence}##end_quote## "
        f"From this the answer follows directly.\n{'<ANSWER>: ' if tagged else ''}{short}"
    )


def write_verdict(prompt: str) -> str:
    """Judge a response by the share of its words that stand elsewhere between the tags."""
    material = prompt.rpartition("from 1 to 5")[2]
    rest, _, said = material.rpartition("<RESPONSE>")
    words = {word.lower() for word in _WORD.findall(said.removesuffix("</RESPONSE>"))}
    known = words & {word.lower() for word in _WORD.findall(rest)}
    return f"Its words were counted.\nScore: {1 + round(4 * len(known) / max(1, len(words)))}"


def write_reply(prompt: str, tagged: bool = True) -> str:
    """Write questions or an answer, whichever the prompt asks for."""
    if "a whole number from 1 to 5" in prompt:
        return write_verdict(prompt)
    documents = _DOCUMENT.findall(prompt)
    document = documents[-1].strip() if documents else prompt
    wanted = _COUNT.search(prompt.rpartition("</DOCUMENT>")[2])
    if wanted:
        return write_questions(document, int(wanted.group(1)))
    questions = _QUESTION.findall(prompt)
    question = questions[-1] if questions else prompt[-200:]
    if len(documents) > 1:  # a RAG or RAFT prompt: the document that shares most words with the question
        asked = {word.lower() for word in _WORD.findall(question)}
        document = max(
            documents, key=lambda text: len(asked & {w.lower() for w in _WORD.findall(text)})
        ).strip()
    return write_answer(document, question, tagged, as_code="as code" in prompt)


class Script:
    """Decide what each request gets, and count."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.faults: dict[str, float] = options.faults
        self.reset()

    def reset(self) -> None:
        self.calls = 0
        self.attempts: Counter[bytes] = Counter()
        self.answered: Counter[bytes] = Counter()
        self.prompts: Counter[bytes] = Counter()
        self.given: Counter[str] = Counter()
        self.bodies: deque[str] = deque(maxlen=1000)
        self.paths: Counter[str] = Counter()  # with their queries
        self.auth: Counter[str] = Counter()  # how a key was sent, if one was
        self.in_flight = self.max_in_flight = 0
        self.tokens = Counter({"prompt": 0, "completion": 0})
        self.allowance, self.allowance_at = float(self.options.burst), time.monotonic()
        self.too_early = 0
        self.not_before = 0.0

    def stats(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "answered": sum(self.answered.values()),
            "faults": dict(self.given),
            "unique_prompts": len(self.prompts),
            "repeated_prompts": sum(self.attempts.values()) - len(self.attempts),
            "paid_twice": sum(self.answered.values()) - len(self.answered),
            "max_in_flight": self.max_in_flight,
            "in_flight": self.in_flight,
            "too_early": self.too_early,
            "paths": dict(self.paths),
            "auth": dict(self.auth),
            "prompt_tokens": self.tokens["prompt"],
            "completion_tokens": self.tokens["completion"],
        }

    def draw(self, digest: bytes, kinds: tuple[str, ...], attempt: int) -> str:
        """Draw a fault for a request: the same request, seed and attempt always draw the same."""
        if not any(self.faults.get(kind) for kind in kinds):
            return ""
        text = b"%d/%d/%s/" % (self.options.seed, attempt, kinds[0].encode()) + digest
        point = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / 2**56
        for kind in kinds:
            point -= self.faults.get(kind, 0.0)
            if point < 0:
                return kind
        return ""

    def over_quota(self) -> float:
        """Say how many seconds to wait, 0 when the request is within the quota."""
        if self.options.max_concurrent and self.in_flight > self.options.max_concurrent:
            return float(self.options.retry_after)
        if self.options.rate:
            now = time.monotonic()
            refill = (now - self.allowance_at) * self.options.rate
            self.allowance, self.allowance_at = min(self.options.burst, self.allowance + refill), now
            if self.allowance < 1:
                return float(max(0.05, (1 - self.allowance) / self.options.rate))
            self.allowance -= 1
        return 0.0

    def answer(self, path: str, body: bytes, headers: bytes) -> tuple[float, int, bytes, str]:
        """Script one model call: seconds to wait (negative: for ever), status, body, extra headers."""
        self.calls += 1
        self.bodies.append(body.decode("utf-8", "replace"))
        self.paths[path] += 1
        for kind in (b"api-key", b"authorization"):
            self.auth[kind.decode()] += re.search(rb"(?i)\r\n" + kind + b":", headers) is not None
        if self.options.always:
            self.given[str(self.options.always)] += 1
            return 0.0, self.options.always, _error("This never works.", self.options.code), ""
        if self.options.key and self.options.key.encode() not in headers:
            self.given["401"] += 1
            sent = re.search(rb"(?i)(?:bearer |api-key: *)(\S*)", headers)
            shown = sent.group(1).decode() if sent else ""
            return 0.0, 401, _error(f"Incorrect API key provided: {shown}.", "invalid_api_key"), ""
        digest = hashlib.blake2b(path.encode() + body, digest_size=16).digest()
        self.attempts[digest] += 1
        if time.monotonic() < self.not_before:
            self.too_early += 1
        wait = self.over_quota()
        fault = "quota" if wait else self.draw(digest, WIRE_FAULTS, self.attempts[digest])
        if fault:
            self.given[fault] += 1
        if fault in ("quota", "429"):
            wait = wait or float(self.options.retry_after)
            self.not_before = max(self.not_before, time.monotonic() + wait)
            return 0.0, 429, _error("Too many requests.", "rate_limit_exceeded"), f"Retry-After: {wait:g}\r\n"
        if fault == "500":
            return self.options.latency, 500, _error("The server had an error.", "server_error"), ""
        if fault == "hang":
            return -1.0, 200, b"", ""
        try:
            request = json.loads(body)
        except ValueError:
            return 0.0, 400, _error("The body is not JSON.", "invalid_request"), ""
        refused = [name for name in self.options.refuse if name in request]
        if refused:
            self.given["400"] += 1
            message = f"Unsupported parameter: '{refused[0]}' is not supported with this model."
            if refused[0] == "max_tokens":
                message += " Use 'max_completion_tokens' instead."
            return 0.0, 400, _error(message, "unsupported_parameter", refused[0]), ""
        if path.partition("?")[0].endswith("/embeddings"):
            return self.options.latency, *embed_texts(request), ""
        messages = request.get("messages")
        prompt = (
            "\n".join(str(m.get("content", "")) for m in messages)
            if messages
            else str(request.get("prompt", ""))
        )
        self.prompts[hashlib.blake2b(prompt.encode(), digest_size=16).digest()] += 1
        if self.options.block and self.options.block in prompt:
            self.given["400"] += 1
            return 0.0, 400, _error("The prompt was stopped by the content filter.", "content_filter"), ""
        fault = fault or self.draw(digest, TEXT_FAULTS, 0)
        text, finish = write_reply(prompt, tagged=fault != "untagged"), "stop"
        if fault == "truncated":
            text, finish = text[: len(text) // 2], "length"
        if fault in TEXT_FAULTS:
            self.given[fault] += 1
        counts = {"prompt": len(prompt) // 4 + 1, "completion": len(text) // 4 + 1}
        reply = json.dumps(
            _completion(request, text, finish, counts, chat=messages is not None), ensure_ascii=False
        )
        if fault == "malformed":
            broken = (reply[: len(reply) // 2], "<html><body>Bad gateway</body></html>", '{"choices": []}',
                      '{"choices": [{"message": {"content": null}, "finish_reason": "stop"}]}')  # fmt: skip
            return self.options.latency, 200, broken[digest[0] % 4].encode(), ""
        self.answered[digest] += 1
        self.tokens.update(counts)
        if request.get("stream"):
            return self.options.latency, 200, _pieces(request, text, finish), STREAM
        return self.options.latency, 200, reply.encode(), ""


def _completion(
    request: Mapping[str, Any], text: str, finish: str, counts: Mapping[str, int], chat: bool
) -> dict[str, Any]:
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    return {
        "id": "scripted",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": request.get("model", "scripted"),
        "choices": [{"index": 0, **said, "finish_reason": finish, "logprobs": None}],
        "usage": {
            "prompt_tokens": counts["prompt"],
            "completion_tokens": counts["completion"],
            "total_tokens": counts["prompt"] + counts["completion"],
        },
    }


def _pieces(request: Mapping[str, Any], text: str, finish: str) -> bytes:
    """Make the events of a streamed chat reply, a word each; `Connection` spreads them over the latency."""
    said: list[tuple[dict[str, str], str | None]] = [
        ({"content": word}, None) for word in re.findall(r"\S+\s*", text)
    ]
    head = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": request.get("model")}
    rows = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}
        for delta, why in [*said, ({}, finish)]
    ]
    return b"".join(b"data: %s\n\n" % json.dumps(row).encode() for row in rows) + b"data: [DONE]\n\n"


def _error(message: str, code: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "code": code, "param": param}}).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: requests in order, kept alive."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.buffer = bytearray()
        self.busy = False
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.script.in_flight -= 1
            self.busy = False
        if self.timer:
            self.timer.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.busy:
            self._next()

    def _next(self) -> None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        headers = bytes(self.buffer[:end])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", headers)
        total = end + 4 + (int(length.group(1)) if length else 0)
        if len(self.buffer) < total:
            return
        body = bytes(self.buffer[end + 4 : total])
        del self.buffer[:total]
        method, path = headers.split(b" ", 2)[:2]
        self._serve(method.decode(), path.decode(), body, headers)

    def _serve(self, method: str, path: str, body: bytes, headers: bytes) -> None:
        script, called = self.script, path.split("?")[0]
        if path == "/stats":
            self._send(200, json.dumps(script.stats()).encode(), "")
        elif path == "/bodies":
            self._send(200, json.dumps(list(script.bodies)).encode(), "")
        elif path == "/reset":
            script.reset()
            self._send(200, b"{}", "")
        elif method == "POST" and called.endswith(("/completions", "/embeddings")):
            self.busy = True
            script.in_flight += 1
            script.max_in_flight = max(script.max_in_flight, script.in_flight)
            wait, status, reply, extra = script.answer(path, body, headers)
            if extra == STREAM:
                self._send_pieces(reply.split(b"\n\n")[:-1], wait, 0)
            elif wait > 0:
                self.timer = asyncio.get_running_loop().call_later(wait, self._send, status, reply, extra)
            elif wait == 0:
                self._send(status, reply, extra)
        elif called.endswith("/models"):
            self._send(200, b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}', "")
        else:
            self._send(404, _error(f"There is no {path}.", "not_found"), "")

    def _send_pieces(self, events: list[bytes], seconds: float, at: int) -> None:
        if self.transport.is_closing():
            return
        if at == 0:
            head = f"HTTP/1.1 200 X\r\nContent-Type: {STREAM}\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.transport.write(head.encode())
        event = events[at] + b"\n\n"
        self.transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        if at + 1 < len(events):
            later = asyncio.get_running_loop().call_later
            self.timer = later(seconds / len(events), self._send_pieces, events, seconds, at + 1)
            return
        self.busy = False
        self.script.in_flight -= 1
        self.transport.write(b"0\r\n\r\n")
        if self.buffer:
            self._next()

    def _send(self, status: int, body: bytes, extra: str) -> None:
        if self.busy:
            self.busy = False
            self.script.in_flight -= 1
        if self.transport.is_closing():
            return
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.transport.write(f"{head}{extra}\r\n".encode() + body)
        if self.buffer:
            self._next()


def parse_faults(text: str) -> dict[str, float]:
    """Read `500=0.05,hang=0.01` into shares; raises ValueError for a fault there is not."""
    faults = {
        name.strip(): float(share) for name, share in (part.split("=") for part in text.split(",") if part)
    }
    unknown = set(faults) - {*WIRE_FAULTS, *TEXT_FAULTS}
    if unknown:
        raise ValueError(f"unknown faults {sorted(unknown)}, known: {', '.join(WIRE_FAULTS + TEXT_FAULTS)}")
    return faults


async def _serve(options: argparse.Namespace) -> None:
    script = Script(options)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(script), "127.0.0.1", options.port, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    if options.stop_with_stdin:
        await loop.run_in_executor(None, sys.stdin.read)
    else:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds a call takes")
    parser.add_argument(
        "--faults", type=parse_faults, default={}, help="shares, as 500=0.05,429=0.05,malformed=0.02"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--retry-after", type=float, default=1.0, help="what a 429 says, in seconds")
    parser.add_argument("--max-concurrent", type=int, default=0, help="more calls at a time get a 429")
    parser.add_argument("--rate", type=float, default=0.0, help="more calls a second get a 429")
    parser.add_argument("--burst", type=int, default=10, help="calls that may exceed the rate at once")
    parser.add_argument("--always", type=int, default=0, help="answer every call with this HTTP status")
    parser.add_argument("--code", default="scripted", help="the error code that goes with --always")
    parser.add_argument("--key", default="", help="any other key gets a 401 that echoes it")
    parser.add_argument("--refuse", nargs="*", default=[], help="parameters that get a 400, as temperature")
    parser.add_argument("--block", default="", help="a prompt holding this text gets a content filter's 400")
    parser.add_argument("--stop-with-stdin", action="store_true", help="end when standard input closes")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


class Scripted:
    """A running scripted endpoint, seen from a test."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._root = url.removesuffix("/v1")

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._root}/stats", timeout=10) as reply:
            return dict(json.load(reply))

    def requests(self) -> list[dict[str, Any]]:
        """Give the bodies of the last calls, in the order they came."""
        with urllib.request.urlopen(f"{self._root}/bodies", timeout=10) as reply:
            return [json.loads(body) for body in json.load(reply)]

    def reset(self) -> None:
        urllib.request.urlopen(
            urllib.request.Request(f"{self._root}/reset", method="POST"), timeout=10
        ).close()


@contextlib.contextmanager
def scripted_endpoint(**options: Any) -> Iterator[Scripted]:
    """Start the endpoint in its own process and yield it: `with scripted_endpoint(latency=1) as endpoint`.

    Options are those of the command line, with underscores; `faults` may be a dict. The process ends
    with the block, and with this process however that ends.
    """
    arguments = []
    for name, value in options.items():
        if isinstance(value, Mapping):
            value = ",".join(f"{kind}={share}" for kind, share in value.items())
        values = value if isinstance(value, (list, tuple)) else [value]
        arguments += [f"--{name.replace('_', '-')}", *map(str, values)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.scripted_endpoint", "--stop-with-stdin", *arguments],
        cwd=Path(__file__).parent.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the scripted endpoint did not start: {arguments}")
        yield Scripted(url)
    finally:
        process.terminate()
        process.communicate(timeout=10)


if __name__ == "__main__":
    main()
