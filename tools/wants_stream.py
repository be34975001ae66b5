"""Node: the request that is being served → whether its client asked for the reply piece by piece."""

import sys

from promptflow.core import tool


@tool
def wants_stream() -> bool:
    """Tell it by `Accept: text/event-stream`; False wherever nothing is served, as in tests and batches.

    promptflow itself turns streaming on only for a model's node that no other node reads.
    """
    flask = sys.modules.get("flask")
    if flask is None or not flask.has_request_context():
        return False
    return "text/event-stream" in flask.request.accept_mimetypes.values()
