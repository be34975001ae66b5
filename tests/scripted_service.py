"""What the scripted services of files share: serving over HTTP on loopback, uploads, pages and errors."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Any]


@contextmanager
def serving(answer: Callable[[str, str, Any, bytes], Reply | bytes | None]) -> Iterator[str]:
    """Serve on a free loopback port until the end of the block; yield the base URL.

    answer: given method, target, headers and body, returns status and JSON, or a file's content; None closes
    the connection without a reply.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = answer(self.command, self.path, self.headers, body)
            if reply is None:
                self.close_connection = True
                return
            is_file = isinstance(reply, bytes)
            status, raw = (
                (200, reply) if isinstance(reply, bytes) else (reply[0], json.dumps(reply[1]).encode())
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream" if is_file else "application/json")
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()


def read_upload(headers: Any, body: bytes) -> tuple[str, str, bytes]:
    """Return the purpose, the name and the content of an uploaded file."""
    form = BytesParser().parsebytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
    parts = {part.get_param("name", header="content-disposition"): part for part in form.get_payload()}  # type: ignore[union-attr]
    file = parts["file"]
    return str(parts["purpose"].get_payload()), str(file.get_filename()), file.get_payload(decode=True)


def page(rows: list[dict[str, Any]], query: dict[str, list[str]] | None = None) -> dict[str, Any]:
    """Return one page of two rows, so that callers have to page."""
    ids = [row["id"] for row in rows]
    start = ids.index(query["after"][0]) + 1 if query and "after" in query else 0
    size = 2 if query is not None else len(rows)
    return {"object": "list", "data": rows[start : start + size], "has_more": start + size < len(rows)}


def error(status: int, code: str, message: str) -> Reply:
    """Return an error as OpenAI's API writes it."""
    return status, {"error": {"message": message, "type": code, "code": code, "param": None}}


def take_fault(faults: Counter[tuple[str, str]], method: str, path: str) -> bool:
    """Return whether a request gets a fault, by its method and a part of its path, and count it off."""
    for (verb, part), remaining in faults.items():
        if remaining and verb == method and part in path:
            faults[verb, part] -= 1
            return True
    return False
