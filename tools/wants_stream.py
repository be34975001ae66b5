"""Node: the request being served → whether its client asked for a streamed reply."""

from promptflow.core import tool

from tools.served_request import stream_requested


@tool
def wants_stream() -> bool:
    """Return whether the request accepts `text/event-stream`; False outside serving, as in tests and batches.

    promptflow itself turns on streaming only for an llm node whose output no other node reads.
    """
    return stream_requested()
