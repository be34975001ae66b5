"""The request that `pf flow serve` is answering; to its nodes promptflow hands the inputs as texts only."""

import sys
from typing import Any

from tools.raft.errors import UserError


def served_request() -> Any:
    """Return Flask's request being served; None outside serving, as in tests and batches."""
    flask = sys.modules.get("flask")
    return flask.request if flask is not None and flask.has_request_context() else None


def stream_requested() -> bool:
    """Return whether the request accepts `text/event-stream`; False outside serving, as in a batch."""
    request = served_request()
    return request is not None and "text/event-stream" in request.accept_mimetypes.values()


def check_text(field: str) -> None:
    """Raise UserError if a field of the request is not a text, such as null, which would become "None"."""
    request = served_request()
    body = request.get_json(silent=True) if request is not None else None
    if isinstance(body, dict) and not isinstance(body.get(field, ""), str):
        raise UserError(f'{field} must be a text, such as {{"{field}": "…"}}')
