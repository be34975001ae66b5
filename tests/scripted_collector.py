"""A scripted collector of telemetry on loopback: OTLP over HTTP, and the ingestion of Application Insights.

    with scripted_collector() as collector:
        …                                   # run something with collector.otlp or collector.insights
        collector.spans()                   # what arrived, the same for both protocols

`POST /v1/traces` takes protobuf (https://opentelemetry.io/docs/specs/otlp), `POST /v2.1/track` the lines of JSON
that azure-monitor-opentelemetry-exporter sends, both also gzipped. Any other path gets a 404, as from a collector.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

Attributes = dict[str, Any]


class Span(NamedTuple):
    """A span that arrived: its name and attributes."""

    name: str
    attributes: Attributes


class Collector:
    """What arrived, and the settings that make a process send it here."""

    def __init__(self, url: str) -> None:
        self.otlp = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{url}/v1/traces"}
        key = "00000000-0000-0000-0000-000000000001"
        self.insights = {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={key};IngestionEndpoint={url}/"
        }
        self.received: list[tuple[str, dict[str, str], bytes]] = []  # path, headers, unzipped body

    def spans(self) -> list[Span]:
        """Return the spans of all requests, in order of arrival."""
        return [
            span
            for path, _, body in list(self.received)
            for span in (_otlp_spans(body) if path == "/v1/traces" else _insights_spans(body))
        ]

    def text(self) -> str:
        """Return everything that was sent, headers and bodies, to search for what must not be in it."""
        return "\n".join(
            f"{path} {headers} {body.decode('utf-8', 'replace')}" for path, headers, body in self.received
        )


def _otlp_spans(body: bytes) -> Iterator[Span]:
    from google.protobuf.json_format import MessageToDict
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                values = MessageToDict(span).get("attributes", [])
                yield Span(span.name, {each["key"]: _value(each["value"]) for each in values})


def _value(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    return int(content) if kind == "intValue" else content  # protobuf's JSON writes 64 bits as a text


def _insights_spans(body: bytes) -> Iterator[Span]:
    for item in json.loads(body):
        data = item["data"]
        if data["baseType"] in ("RequestData", "RemoteDependencyData"):
            yield Span(data["baseData"]["name"], data["baseData"]["properties"])


@contextmanager
def scripted_collector() -> Iterator[Collector]:
    """Start a collector on a free port; it stops with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            known = self.path in ("/v1/traces", "/v2.1/track", "/v2/track")
            if known:
                collector.received.append((self.path, dict(self.headers), body))
            count = len(json.loads(body)) if self.path.endswith("/track") else 0
            reply = {"itemsReceived": count, "itemsAccepted": count, "errors": []} if count else {}
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(reply).encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
