"""A scripted OpenAI-compatible endpoint in a process of its own, for tests and benchmarks.

    python -m tests.scripted_endpoint --port 8900 --latency 1.0 --faults 500=0.05,429=0.05,hang=0.01

A reply depends on the request alone, so two runs with the same questions get the same answers. Faults are
drawn from a hash of seed and request: wire faults (500, 429, malformed, hang) anew at each attempt, text
faults (truncated, untagged) once, as from a model with a fixed seed. `GET /stats` returns the counts,
`GET /bodies` the last requests; `POST /reset` clears both. HTTP is implemented directly on an asyncio
protocol, because the server shares two cores with what it measures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import hashlib
import heapq
import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

WIRE_FAULTS = ("500", "429", "malformed", "hang")
TEXT_FAULTS = ("truncated", "untagged", "no_call", "other_call")
# What stands in the final answer instead of the call that was asked for.
NOT_THE_CALL = {"no_call": "the call that is documented", "other_call": "other.load('nothing', known=True)"}
STREAM = "text/event-stream"

_DOCUMENT = re.compile(r"<DOCUMENT>(.*?)</DOCUMENT>", re.DOTALL)
_QUESTION = re.compile(r"^Question: *(.+)$", re.MULTILINE)
_COUNT = re.compile(r"[Ww]rite (\d+) questions?")
_SENTENCE = re.compile(r"[^\n.!?。！？]+(?:[.!?。！？]+|(?=\n)|\Z)")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W_]+")
_PAIR = re.compile(r"What connects (.+), on the one hand, with (.+), on the other\?")
_CALL = re.compile(r"[A-Za-z_][\w.]*\([^()\n]*\)")
_QUESTION_FORMS = ("What is known about {}?", "What should a reader know about {}?", "What can be said of {}?",
         "Which fact concerns {}?", "What holds for {}?", "What is worth knowing about {}?")  # fmt: skip


@functools.lru_cache(maxsize=50_000)
def _sentences(document: str) -> tuple[tuple[str, frozenset[str]], ...]:
    """Split a document into verbatim sentences, each with the set of its words."""
    sentences = [match.group().strip() for match in _SENTENCE.finditer(document)]  # never across lines
    sentences = [text for text in sentences if len(text) > (4 if text > "\u3400" else 12)]
    sentences = sentences or [document.strip()[:200]]
    return tuple((text, frozenset(word.lower() for word in _WORD.findall(text))) for text in sentences)


def embed_texts(request: Mapping[str, Any]) -> tuple[int, bytes]:
    """Embed each text as word counts in 32 bins; return a 400 for over 50 texts or one that is "too long"."""
    texts = request["input"]
    if len(texts) > 50 or any("too long" in text for text in texts):
        return 400, _error("The input is too large.", "invalid_request")
    rows = []
    for index, text in enumerate(texts):
        bins = Counter(hashlib.sha256(word.lower().encode()).digest()[0] % 32 for word in _WORD.findall(text))
        rows.append({"index": index, "embedding": [bins[i] + 0.001 for i in range(32)]})
    rows.reverse()  # the protocol does not promise any order
    usage = {"prompt_tokens": sum(len(text.split()) for text in texts)}
    return 200, json.dumps({"object": "list", "data": rows, "usage": usage}).encode()


def write_questions(document: str, count: int) -> str:
    """Write `count` different questions about the sentences of a document, one per line."""
    sentences = _sentences(document)
    lines: dict[str, None] = {}
    for number in range(40 * count):
        text = sentences[number % len(sentences)][0]
        words = _WORD.findall(re.sub(r"[\w.]+\(", " ", text))  # a task must not name the call it asks for
        turn = number // len(sentences)
        separator = "" if words and words[0] > "\u3400" else " "
        topic = separator.join(words[turn % 3 : turn % 3 + (5 if separator else 12)])
        if topic:
            lines[_QUESTION_FORMS[(turn // 3) % len(_QUESTION_FORMS)].format(topic)] = None
        if len(lines) == count:
            break
    return "\n".join(lines)


def write_answer(document: str, question: str, tagged: bool = True, as_code: bool = False) -> str:
    """Write an answer from the sentence that shares most words with the question, quoted verbatim."""
    question_words = frozenset(word.lower() for word in _WORD.findall(question))
    sentence = max(
        _sentences(document), key=lambda entry: len(entry[1] & question_words) / (8 + len(entry[1]))
    )[0]
    body = sentence.rstrip(".!?。！？")
    words = body.split()
    short = " ".join(words[-max(2, len(words) // 2) :]) if len(words) > 3 else body
    if as_code and (call := _CALL.search(document)):
        short = call.group()
    return (
        f"The question is answered by one passage. It says: ##begin_quote##{sentence}##end_quote## "
        f"From this the answer follows directly.\n{'<ANSWER>: ' if tagged else ''}{short}"
    )


def write_pair_questions(first: str, second: str, count: int) -> str:
    """Write `count` different questions, each about a sentence of one document and one of another."""
    lines: dict[str, None] = {}
    for number in range(40 * count):
        topics = []
        for document, turn in ((first, number), (second, number + number // 7)):
            sentences = _sentences(document)
            words = _WORD.findall(sentences[turn % len(sentences)][0])
            separator = "" if words and words[0] > "\u3400" else " "
            topics.append(separator.join(words[: 5 if separator else 12]))
        if all(topics):
            lines[f"What connects {topics[0]}, on the one hand, with {topics[1]}, on the other?"] = None
        if len(lines) == count:
            break
    return "\n".join(lines)


def write_pair_answer(documents: list[str], question: str, gold: str = "", one_quote: bool = False) -> str:
    """Write an answer that quotes a sentence of each document, or of the first only; it ends the last one."""
    wanted = frozenset(word.lower() for word in _WORD.findall(f"{question} {gold}"))
    sentences = [
        max(_sentences(text), key=lambda entry: len(entry[1] & wanted) / (8 + len(entry[1])))[0]
        for text in documents
    ]
    shown = sentences[:1] if one_quote else sentences
    quotes = " ".join(f"It says: ##begin_quote##{sentence}##end_quote##" for sentence in shown)
    words = sentences[-1].rstrip(".!?。！？").split()
    short = gold or " ".join(words[-max(2, len(words) // 2) :])
    return f"The documents answer this together. {quotes}\n<ANSWER>: {short}"


def _lacks_a_topic(document: str, question: str) -> bool:
    """Return whether a question about two sentences is put beside a document that has only one of them."""
    topics = _PAIR.search(question)
    known = {word.lower() for word in _WORD.findall(document)}
    return topics is not None and not all(
        known.issuperset(word.lower() for word in _WORD.findall(topic)) for topic in topics.groups()
    )


def _is_among(share: float, question: str) -> bool:
    """Return whether a question is among a share of all, as its hash has it."""
    digest = hashlib.blake2b(question.encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big") / 2**56 < share


def write_verdict(prompt: str) -> str:
    """Judge a response by the share of its words that occur in the rest of the material."""
    material = prompt.rpartition("from 1 to 5")[2]
    rest, _, response = material.rpartition("<RESPONSE>")
    words = {word.lower() for word in _WORD.findall(response.removesuffix("</RESPONSE>"))}
    known = words & {word.lower() for word in _WORD.findall(rest)}
    return f"Its words were counted.\nScore: {1 + round(4 * len(known) / max(1, len(words)))}"


def write_reply(
    prompt: str,
    tagged: bool = True,
    call: str = "",
    *,
    golds: Mapping[str, str] | None = None,
    alone: float = 0.0,
    one_quote: float = 0.0,
) -> str:
    """Write questions, an answer or a verdict, whichever the prompt asks for.

    golds: known answers by question. alone, one_quote: shares of the questions about two documents that one
    of them answers, and whose answer quotes only one.
    """
    if "a whole number from 1 to 5" in prompt:
        return write_verdict(prompt)
    documents = _DOCUMENT.findall(prompt)
    document = documents[-1].strip() if documents else prompt
    count = _COUNT.search(prompt.rpartition("</DOCUMENT>")[2])
    if count and len(documents) == 2:
        return write_pair_questions(documents[0], documents[1], int(count.group(1)))
    if count:
        return write_questions(document, int(count.group(1)))
    questions = _QUESTION.findall(prompt)
    question = questions[-1] if questions else prompt[-200:]
    if "Quote each of the" in prompt:
        gold = (golds or {}).get(question, "")
        return write_pair_answer(documents, question, gold, _is_among(one_quote, question))
    if len(documents) == 1 and _lacks_a_topic(document, question) and not _is_among(alone, question):
        return "The document has only a part of this.\n<ANSWER>: UNANSWERABLE"
    if len(documents) > 1:  # a RAG or RAFT prompt: the document that shares most words with the question
        question_words = {word.lower() for word in _WORD.findall(question)}
        document = max(
            documents, key=lambda text: len(question_words & {word.lower() for word in _WORD.findall(text)})
        ).strip()
    answer = write_answer(document, question, tagged, as_code="as code" in prompt)
    if call and "as code" in prompt:
        return f"{answer.partition('<ANSWER>: ')[0]}<ANSWER>: {call}"
    return answer


class SharedSpeed:
    """Write replies at so many tokens per second together, as a server does that decodes them in one batch."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.jobs: list[
            tuple[float, int, Callable[[], None]]
        ] = []  # a heap: when, in tokens for each, and what
        self.written, self.at = 0.0, 0.0  # tokens for each job so far
        self.timer: asyncio.TimerHandle | None = None
        self.numbers = itertools.count()

    def add(self, tokens: int, done: Callable[[], None]) -> int:
        self._advance()
        number = next(self.numbers)
        heapq.heappush(self.jobs, (self.written + tokens, number, done))
        self._schedule()
        return number

    def remove(self, number: int) -> None:
        """Write no more for a job, if it is still there."""
        self._advance()
        self.jobs = [job for job in self.jobs if job[1] != number]
        heapq.heapify(self.jobs)
        self._schedule()

    def _advance(self) -> None:
        now = time.monotonic()
        self.written += (now - self.at) * self.rate / max(1, len(self.jobs))
        self.at = now

    def _schedule(self) -> None:
        if self.timer:
            self.timer.cancel()
        if self.jobs:
            seconds = (self.jobs[0][0] - self.written) * len(self.jobs) / self.rate
            self.timer = asyncio.get_running_loop().call_later(max(0.0, seconds), self._finish)

    def _finish(self) -> None:
        self._advance()
        while self.jobs and self.jobs[0][0] <= self.written + 1e-6:
            heapq.heappop(self.jobs)[2]()
        self._schedule()


class Script:
    """Decide the reply to each request, and keep the counts."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.speed = SharedSpeed(options.tokens_per_second) if options.tokens_per_second else None
        self.work = 0  # tokens of the last reply
        rows = map(
            json.loads, options.golds.read_text(encoding="utf-8").splitlines() if options.golds else ()
        )
        self.golds = {row["question"]: row["answer"] for row in rows}
        self.faults: dict[str, float] = options.faults
        self.reset()

    def reset(self) -> None:
        self.calls = 0
        self.attempts: Counter[bytes] = Counter()
        self.answered: Counter[bytes] = Counter()
        self.prompts: Counter[bytes] = Counter()
        self.faults_sent: Counter[str] = Counter()
        self.bodies: deque[str] = deque(maxlen=1000)
        self.paths: Counter[str] = Counter()  # with their queries
        self.auth: Counter[str] = Counter()  # the header that carried a key, if any
        self.in_flight = self.max_in_flight = 0
        self.tokens = Counter({"prompt": 0, "completion": 0})
        self.allowance, self.allowance_at = float(self.options.burst), time.monotonic()
        self.too_early = 0
        self.not_before = 0.0

    def stats(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "answered": sum(self.answered.values()),
            "faults": dict(self.faults_sent),
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
        """Draw a fault for a request; the same request, seed and attempt always draw the same one."""
        if not any(self.faults.get(kind) for kind in kinds):
            return ""
        text = b"%d/%d/%s/" % (self.options.seed, attempt, kinds[0].encode()) + digest
        point = int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / 2**56
        for kind in kinds:
            point -= self.faults.get(kind, 0.0)
            if point < 0:
                return kind
        return ""

    def write(self, prompt: str, tagged: bool, call: str) -> str:
        """Write a reply as the options have it."""
        options = self.options
        return write_reply(
            prompt, tagged, call, golds=self.golds, alone=options.alone, one_quote=options.one_quote
        )

    def over_quota(self) -> float:
        """Return how many seconds to wait; 0 if the request is within the quota."""
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
        """Script one model call; return seconds to wait (negative: forever), status, body, extra headers."""
        self.calls += 1
        self.work = 0
        self.bodies.append(body.decode("utf-8", "replace"))
        self.paths[path] += 1
        for kind in (b"api-key", b"authorization"):
            self.auth[kind.decode()] += re.search(rb"(?i)\r\n" + kind + b":", headers) is not None
        if self.options.always:
            self.faults_sent[str(self.options.always)] += 1
            return 0.0, self.options.always, _error("This never works.", self.options.code), ""
        if self.options.key and self.options.key.encode() not in headers:
            self.faults_sent["401"] += 1
            match = re.search(rb"(?i)(?:bearer |api-key: *)(\S*)", headers)
            key = match.group(1).decode() if match else ""
            return 0.0, 401, _error(f"Incorrect API key provided: {key}.", "invalid_api_key"), ""
        digest = hashlib.blake2b(path.encode() + body, digest_size=16).digest()
        self.attempts[digest] += 1
        if time.monotonic() < self.not_before:
            self.too_early += 1
        wait = self.over_quota()
        fault = "quota" if wait else self.draw(digest, WIRE_FAULTS, self.attempts[digest])
        if fault:
            self.faults_sent[fault] += 1
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
        unsupported = [name for name in self.options.refuse if name in request]
        if unsupported:
            self.faults_sent["400"] += 1
            message = f"Unsupported parameter: '{unsupported[0]}' is not supported with this model."
            if unsupported[0] == "max_tokens":
                message += " Use 'max_completion_tokens' instead."
            return 0.0, 400, _error(message, "unsupported_parameter", unsupported[0]), ""
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
            self.faults_sent["400"] += 1
            return 0.0, 400, _error("The prompt was stopped by the content filter.", "content_filter"), ""
        fault = fault or self.draw(digest, TEXT_FAULTS, 0)
        call = NOT_THE_CALL.get(fault, "")
        text, finish = self.write(prompt, tagged=fault != "untagged", call=call), "stop"
        if fault == "truncated":
            text, finish = text[: len(text) // 2], "length"
        if fault in TEXT_FAULTS:
            self.faults_sent[fault] += 1
        if thoughts := self.options.thoughts:
            text = thoughts + text
            if request["max_tokens"] < self.options.thought_tokens:
                text, finish = thoughts[: len(thoughts) // 2], "length"
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
        self.work = counts["completion"]
        if request.get("stream"):
            return self.options.latency, 200, _stream_events(request, text, finish), STREAM
        return self.options.latency, 200, reply.encode(), ""


def _completion(
    request: Mapping[str, Any], text: str, finish: str, counts: Mapping[str, int], chat: bool
) -> dict[str, Any]:
    content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    details = {"prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0}} if chat else {}
    return {
        "id": "scripted",
        "object": "chat.completion" if chat else "text_completion",
        "created": 0,
        "model": request.get("model", "scripted"),
        "choices": [{"index": 0, **content, "finish_reason": finish, "logprobs": None}],
        "usage": {
            "prompt_tokens": counts["prompt"],
            "completion_tokens": counts["completion"],
            "total_tokens": counts["prompt"] + counts["completion"],
            **details,
        },
    }


def _stream_events(request: Mapping[str, Any], text: str, finish: str) -> bytes:
    """Build the events of a streamed chat reply, one word each; `Connection` spreads them over the latency."""
    deltas: list[tuple[dict[str, str], str | None]] = [
        ({"content": word}, None) for word in re.findall(r"\S+\s*", text)
    ]
    head = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": request.get("model")}
    rows = [
        {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        for delta, reason in [*deltas, ({}, finish)]
    ]
    return b"".join(b"data: %s\n\n" % json.dumps(row).encode() for row in rows) + b"data: [DONE]\n\n"


def _error(message: str, code: str, param: str | None = None) -> bytes:
    return json.dumps({"error": {"message": message, "type": code, "code": code, "param": param}}).encode()


class Connection(asyncio.Protocol):
    """One keep-alive HTTP/1.1 connection, whose requests are answered in order."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.buffer = bytearray()
        self.busy = False
        self.timer: asyncio.TimerHandle | None = None
        self.job: int | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            self.script.in_flight -= 1
            self.busy = False
        if self.timer:
            self.timer.cancel()
        if self.job is not None and self.script.speed:
            self.script.speed.remove(self.job)

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
        script, route = self.script, path.split("?")[0]
        if path == "/stats":
            self._send(200, json.dumps(script.stats()).encode(), "")
        elif path == "/bodies":
            self._send(200, json.dumps(list(script.bodies)).encode(), "")
        elif path == "/reset":
            script.reset()
            self._send(200, b"{}", "")
        elif method == "POST" and route.endswith(("/completions", "/embeddings")):
            self.busy = True
            script.in_flight += 1
            script.max_in_flight = max(script.max_in_flight, script.in_flight)
            wait, status, reply, extra = script.answer(path, body, headers)
            if extra == STREAM:
                self._send_events(reply.split(b"\n\n")[:-1], wait, 0)
            elif script.speed and script.work and status == 200:
                self.job = script.speed.add(script.work, lambda: self._send(status, reply, extra))
            elif wait > 0:
                self.timer = asyncio.get_running_loop().call_later(wait, self._send, status, reply, extra)
            elif wait == 0:
                self._send(status, reply, extra)
        elif route.endswith("/models"):
            self._send(200, b'{"object": "list", "data": [{"id": "scripted", "object": "model"}]}', "")
        else:
            self._send(404, _error(f"There is no {path}.", "not_found"), "")

    def _send_events(self, events: list[bytes], seconds: float, index: int) -> None:
        if self.transport.is_closing():
            return
        if index == 0:
            head = f"HTTP/1.1 200 X\r\nContent-Type: {STREAM}\r\nTransfer-Encoding: chunked\r\n\r\n"
            self.transport.write(head.encode())
        event = events[index] + b"\n\n"
        self.transport.write(b"%x\r\n%s\r\n" % (len(event), event))
        if index + 1 < len(events):
            later = asyncio.get_running_loop().call_later
            self.timer = later(seconds / len(events), self._send_events, events, seconds, index + 1)
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
    """Parse `500=0.05,hang=0.01` into shares. Raises ValueError for an unknown fault."""
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
    parser.add_argument("--latency", type=float, default=0.0, help="seconds per call")
    parser.add_argument(
        "--tokens-per-second", type=float, default=0.0, help="shared by the replies being written"
    )
    parser.add_argument(
        "--faults",
        type=parse_faults,
        default={},
        help="shares of calls, such as 500=0.05,429=0.05,malformed=0.02",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--retry-after", type=float, default=1.0, help="Retry-After of a 429, in seconds")
    parser.add_argument(
        "--max-concurrent", type=int, default=0, help="calls in flight above which a call gets a 429"
    )
    parser.add_argument(
        "--rate", type=float, default=0.0, help="calls per second above which a call gets a 429"
    )
    parser.add_argument("--burst", type=int, default=10, help="calls that may exceed the rate at once")
    parser.add_argument("--always", type=int, default=0, help="answer every call with this HTTP status")
    parser.add_argument("--code", default="scripted", help="the error code that goes with --always")
    parser.add_argument("--key", default="", help="the valid key; any other gets a 401 that echoes it")
    parser.add_argument(
        "--refuse", nargs="*", default=[], help="parameters that get a 400, such as temperature"
    )
    parser.add_argument("--block", default="", help="prompts containing this text get a content filter's 400")
    parser.add_argument("--thoughts", default="", help="what the model writes before each reply")
    parser.add_argument(
        "--thought-tokens", type=int, default=0, help="with fewer, a reply is cut off in its thoughts"
    )
    parser.add_argument("--golds", type=Path, help="JSON lines with question and answer, which it then knows")
    parser.add_argument(
        "--alone", type=float, default=0.0, help="share of questions about two documents that one answers"
    )
    parser.add_argument(
        "--one-quote", type=float, default=0.0, help="share of answers from two documents that quote only one"
    )
    parser.add_argument("--stop-with-stdin", action="store_true", help="exit when standard input closes")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args()))


class Scripted:
    """A running scripted endpoint, as tests use it."""

    def __init__(self, url: str, kill: Callable[[], None] = lambda: None) -> None:
        self.url = url
        self.kill = kill
        self._root = url.removesuffix("/v1")

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self._root}/stats", timeout=10) as reply:
            return dict(json.load(reply))

    def requests(self) -> list[dict[str, Any]]:
        """Return the bodies of the last calls, in order of arrival."""
        with urllib.request.urlopen(f"{self._root}/bodies", timeout=10) as reply:
            return [json.loads(body) for body in json.load(reply)]

    def reset(self) -> None:
        urllib.request.urlopen(
            urllib.request.Request(f"{self._root}/reset", method="POST"), timeout=10
        ).close()


@contextlib.contextmanager
def scripted_endpoint(**options: Any) -> Iterator[Scripted]:
    """Start the endpoint in its own process and yield it: `with scripted_endpoint(latency=1) as endpoint`.

    Options are those of the command line, with underscores; `faults` may be a dict. The process ends with
    the block, or with this process, even if that is killed.
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
        yield Scripted(url, process.kill)
    finally:
        process.terminate()
        process.communicate(timeout=10)


if __name__ == "__main__":
    main()
