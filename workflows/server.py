"""Serve the chat workflow over HTTP, with the requests and responses of `pf flow serve`."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from opentelemetry import context, trace
from opentelemetry.propagate import extract

from tools.raft.errors import UserError, one_line
from tools.raft.models.failed_calls import CallFailed
from workflows.chat import OUTPUTS, Turn
from workflows.inputs import read_turn
from workflows.session import ChatSession

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("chat_page.html")
STREAM = "text/event-stream"
_JSON = {"application/json", "application/*", "*/*"}
_SESSION: web.AppKey[ChatSession] = web.AppKey("session", ChatSession)
_FIELDS: web.AppKey[tuple[str, ...]] = web.AppKey("fields", tuple)


def create_app(session: ChatSession) -> web.Application:
    """Return the application: POST /score and /feedback, GET /health and a chat page at /.

    PROMPTFLOW_RESPONSE_INCLUDED_FIELDS, a JSON list, names the outputs that a response has.
    """
    app = web.Application(middlewares=[_report_errors], client_max_size=16 << 20)
    included = json.loads(os.environ.get("PROMPTFLOW_RESPONSE_INCLUDED_FIELDS") or "null")
    app[_SESSION] = session
    app[_FIELDS] = tuple(name for name in OUTPUTS if included is None or name in included)
    app.add_routes(
        [
            web.post("/score", score),
            web.post("/feedback", feedback),
            web.get("/health", health),
            web.get("/", page),
        ]
    )
    return app


@web.middleware
async def _report_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Return a failure as promptflow does: 400 for what the request or the model's endpoint did, else 500."""
    try:
        return await handler(request)
    except (UserError, CallFailed) as error:
        return _json({"error": {"code": "UserError", "message": one_line(error, 500)}}, 400)
    except web.HTTPException:
        raise
    except Exception as error:
        log.exception("a request failed")
        return _json({"error": {"code": "SystemError", "message": one_line(error)}}, 500)


async def score(request: web.Request) -> web.StreamResponse:
    """Answer the question of the request's JSON object, streamed if it accepts text/event-stream."""
    try:
        given = json.loads(await request.read())
    except ValueError:
        raise UserError('the request is not JSON: send an object such as {"question": "…"}') from None
    turn = read_turn(given)
    accepted = _accepted(request)
    token = context.attach(extract(request.headers))
    try:
        if STREAM in accepted:
            return await _stream(request, turn)
        if not accepted & _JSON:
            message = f"Media type {','.join(accepted)} in Accept header is not acceptable."
            return _json({"error": {"code": "UserError", "message": message}}, 406)
        return _json(_included(request, await request.app[_SESSION].answer(turn)))
    finally:
        context.detach(token)


async def _stream(request: web.Request, turn: Turn) -> web.StreamResponse:
    """Send what is known before the reply, then the reply's pieces, each as an event."""
    response = web.StreamResponse(headers={"Content-Type": f"{STREAM}; charset=utf-8"})
    run = request.app[_SESSION].workflow().run(turn, stream=True)
    async for event in run:
        if event.type == "intermediate" and not response.prepared:
            await response.prepare(request)  # only now: a run that failed before has an error status
            await _send(response, _included(request, event.data))
        elif event.type == "intermediate":
            await _send(response, _included(request, {"reply": event.data}))
        elif event.type == "output" and not response.prepared:  # refused without a call: nothing to stream
            await response.prepare(request)
            reply = {"reply": event.data.pop("reply")}
            await _send(response, _included(request, event.data))
            await _send(response, _included(request, reply))
    await response.write_eof()
    return response


async def _send(response: web.StreamResponse, data: Mapping[str, Any]) -> None:
    if data:
        await response.write(f"data: {json.dumps(data)}\n\n".encode())


async def feedback(request: web.Request) -> web.Response:
    """Record what users think of an answer as a span in the trace of its request."""
    text = await request.text()
    fields: dict[str, Any] = {"feedback": text}
    if request.query.get("flatten", "").lower() == "true":
        try:
            fields = {name: _attribute(value) for name, value in json.loads(text).items()}
        except (ValueError, AttributeError):
            pass
    token = context.attach(extract(request.headers))
    try:
        with trace.get_tracer(__name__).start_as_current_span("promptflow-feedback", attributes=fields):
            return _json({"status": "Feedback received."})
    finally:
        context.detach(token)


async def health(request: web.Request) -> web.Response:
    """Say that questions are answered: the server listens when index and model are ready."""
    return _json({"status": "Healthy"})


async def page(request: web.Request) -> web.Response:
    """Return a page to chat with."""
    return web.Response(text=PAGE.read_text(encoding="utf-8"), content_type="text/html")


def _accepted(request: web.Request) -> set[str]:
    header = request.headers.get("Accept") or "*/*"
    return {part.partition(";")[0].strip().lower() for part in header.split(",")}


def _included(request: web.Request, outputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: outputs[name] for name in request.app[_FIELDS] if name in outputs}


def _json(body: Any, status: int = 200) -> web.Response:
    """Write JSON byte for byte as promptflow's server does."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n"
    return web.Response(body=text.encode(), status=status, content_type="application/json")


def _attribute(value: Any) -> Any:
    """Return a value that a span can have as an attribute."""
    return value if isinstance(value, (str, bool, int, float)) else json.dumps(value, ensure_ascii=False)
