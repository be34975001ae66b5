"""Node: the request being served → whether its client asked for a streamed reply."""

import sys

from promptflow.core import tool


@tool
def wants_stream() -> bool:
    """Return whether the request accepts `text/event-stream`; False outside serving, as in tests and batches.

    promptflow itself turns on streaming only for an llm node whose output no other node reads.
    """
    flask = sys.modules.get("flask")
    if flask is None or not flask.has_request_context():
        return False
    return "text/event-stream" in flask.request.accept_mimetypes.values()
