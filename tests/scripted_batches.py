"""A scripted batch service over HTTP on loopback: files, batches, and their faults on demand.

It follows OpenAI's guide (https://platform.openai.com/docs/guides/batch): lines are checked as documented, and
each reply is built by the SDK's models. A batch advances one state per look at it, and its requests are
answered as by tests/scripted_endpoint.py, so that a dataset is the same by either way.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from openai.types import Batch, FileObject

from tests.scripted_endpoint import _completion, write_reply
from tests.scripted_service import Reply, error, page, read_upload, serving

KEY = "sk-batches-0123456789"
STATES = ("validating", "in_progress", "finalizing", "completed")


@dataclass
class Batches:
    """The service: its state, what it was sent, and the faults it is set to produce."""

    url: str = ""
    azure: bool = False  # wants paths without a version
    states: tuple[str, ...] = STATES  # that a batch goes through
    # "lost": closes the connection before it reads a request; "upload": after it stored a file; "batch": after
    # it created a batch; "expire": half of the next batch is answered; "lines": every third line fails;
    # "refuse": the batch fails as a whole; "junk": every third reply of the next batch is empty
    faults: Counter[str] = field(default_factory=Counter)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    contents: dict[str, bytes] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)  # by body: what is paid for
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def paid_twice(self) -> int:
        return sum(self.answered.values()) - len(self.answered)

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Reply | bytes | None:
        """Answer a request, one at a time; None closes the connection without a reply."""
        with self._lock:
            return self._answer(method, target, headers, body)

    def _answer(self, method: str, target: str, headers: Any, body: bytes) -> Reply | bytes | None:
        path = re.sub(r"^/(openai/v1|openai|v1)", "", urlsplit(target).path)
        key = headers.get("api-key") or (headers.get("Authorization") or "").removeprefix("Bearer ")
        if key != KEY:
            return error(401, "scripted", f"Incorrect API key provided: {key}.")
        if self._take("lost"):
            return None
        if path == "/files":
            return self._upload(headers, body) if method == "POST" else (200, page(list(self.files.values())))
        if match := re.fullmatch(r"/files/([\w-]+)/content", path):
            return self.contents[match[1]]
        if match := re.fullmatch(r"/files/([\w-]+)", path):
            return 200, self.files[match[1]]
        if path == "/batches":
            if method == "POST":
                return self._create(json.loads(body))
            rows = [self._object(batch) for batch in reversed(self.batches.values())]
            return 200, page(rows, parse_qs(urlsplit(target).query))
        if match := re.fullmatch(r"/batches/([\w-]+)", path):
            batch = self.batches[match[1]]
            if len(batch["states"]) > 1:
                batch["states"].pop(0)
                if len(batch["states"]) == 1 and batch["states"][0] != "failed":
                    self._finish(batch)
            return 200, self._object(batch)
        return error(404, "scripted", f"there is no {path}")

    def _upload(self, headers: Any, body: bytes) -> Reply | None:
        purpose, name, content = read_upload(headers, body)
        if purpose != "batch":
            return error(400, "scripted", "purpose")
        self._store(content, name, "batch")
        return None if self._take("upload") else (200, list(self.files.values())[-1])

    def _store(self, content: bytes, name: str, purpose: str) -> str:
        file = FileObject(
            id=f"file-{len(self.files) + 1}", bytes=len(content), created_at=0, object="file", status="processed",
            filename=name, purpose=purpose,  # type: ignore[arg-type]
        )  # fmt: skip
        self.files[file.id], self.contents[file.id] = file.to_dict(), content
        return file.id

    def _create(self, body: dict[str, Any]) -> Reply | None:
        content = self.contents.get(body["input_file_id"], b"")
        if content.startswith(b"\xef\xbb\xbf"):
            return error(400, "scripted", "the file starts with a byte order mark")
        lines = [json.loads(line) for line in content.splitlines()]
        want = "/chat/completions" if self.azure else "/v1/chat/completions"
        if body["endpoint"] != want or any(line["url"] != want for line in lines):
            return error(400, "scripted", f"the path must be {want}")
        if len({line["custom_id"] for line in lines}) < len(lines) or not lines:
            return error(400, "scripted", "each line needs a custom_id of its own")
        if len({line["body"]["model"] for line in lines}) > 1:
            return error(400, "scripted", "a file is for one model")
        states = ["validating", "failed"] if self._take("refuse") else list(self.states)
        id = f"batch_{len(self.batches) + 1}"
        self.batches[id] = {"id": id, "body": body, "lines": lines, "states": states, "done": 0, "failed": 0}
        return None if self._take("batch") else (200, self._object(self.batches[id]))

    def _finish(self, batch: dict[str, Any]) -> None:
        """Answer the lines of a batch, in another order than they came, and write its files."""
        lines, failing, junk = batch["lines"][::-1], self._take("lines"), self._take("junk")
        expired = len(lines) // 2 if self._take("expire") else len(lines)
        if expired < len(lines):
            batch["states"] = ["expired"]
        output, errors = [], []
        for number, line in enumerate(lines):
            row: dict[str, Any] = {"id": f"r{number}", "custom_id": line["custom_id"]}
            if number >= expired:
                row |= {"response": None, "error": {"code": "batch_expired", "message": "It took too long."}}
                errors.append(row)
            elif failing and number % 3 == 0:
                body = {"error": {"message": "The server had an error.", "code": "server_error"}}
                errors.append(row | {"response": {"status_code": 500, "body": body}, "error": None})
            else:
                request = line["body"]
                prompt = "\n".join(str(message["content"]) for message in request["messages"])
                text = "" if junk and number % 3 == 0 else write_reply(prompt)
                counts = {"prompt": len(prompt) // 4 + 1, "completion": len(text) // 4 + 1}
                self.answered[json.dumps(request, sort_keys=True)] += bool(text)
                body = _completion(request, text, "stop", counts, chat=True)
                output.append(row | {"response": {"status_code": 200, "body": body}, "error": None})
        batch["done"], batch["failed"] = len(output), len(errors)
        for name, rows in (("output", output), ("error", errors)):
            if rows:
                content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()
                batch[name] = self._store(content, f"{batch['id']}_{name}.jsonl", "batch_output")

    def _object(self, batch: dict[str, Any]) -> dict[str, Any]:
        state = batch["states"][0]
        errors = [{"message": "The enqueued token limit is reached.", "code": "token_limit_exceeded"}]
        return Batch(
            id=batch["id"], created_at=0, completion_window="24h", object="batch", status=state,
            endpoint=batch["body"]["endpoint"], input_file_id=batch["body"]["input_file_id"],
            output_file_id=batch.get("output"), error_file_id=batch.get("error"),
            metadata=batch["body"].get("metadata"),
            errors={"object": "list", "data": errors} if state == "failed" else None,  # type: ignore[arg-type]
            request_counts={"total": len(batch["lines"]), "completed": batch["done"], "failed": batch["failed"]},  # type: ignore[arg-type]
        ).to_dict()  # fmt: skip

    def _take(self, fault: str) -> bool:
        hit = self.faults[fault] > 0
        self.faults[fault] -= hit
        return hit


@contextmanager
def scripted_batches(**settings: Any) -> Iterator[Batches]:
    """Run the service on a free loopback port until the end of the block."""
    service = Batches(**settings)
    with serving(service.answer) as service.url:
        yield service
