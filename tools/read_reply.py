"""Node: the model's reply → final answer, reasoning, and citations with their positions."""

from promptflow.core import tool

from tools.raft.rag import citations
from tools.served_request import stream_requested


@tool
def read_reply(text: object, documents: list, refusal: str = "") -> dict:
    """Parse a reply and look up its quotes; `reply` is the answer with its sources, for display.

    `sources` lists all documents, without their texts, so that a run stays readable. With a `refusal`, why
    the model was not asked, there is no reply to parse.
    If the reply is being streamed, only `reply` and `sources` are set: `reply` is a stream of pieces.
    """
    if not refusal and text is not None and not isinstance(text, str):
        return {**citations.present_stream(documents), "reply": citations.stream_answer(text, documents)}
    shown = citations.present_reply(str(text or ""), documents, refusal)
    if refusal and stream_requested():  # promptflow would answer 406: nothing in it is a stream
        shown["reply"] = iter([shown["reply"]])
    return shown
