"""Node: the model's reply → final answer, reasoning, and citations with their positions."""

from promptflow.core import tool

from tools.raft.rag import citations


@tool
def read_reply(text: object, documents: list) -> dict:
    """Parse a reply and look up its quotes; `reply` is the answer with its sources, for display.

    If the reply is being streamed, only `reply` is set: a stream of pieces, with the sources last.
    """
    if text is None or isinstance(text, str):
        answer = citations.read_reply(text or "", documents)
        return {**answer, "reply": citations.show_answer(answer, documents)}
    streamed = citations.stream_answer(text, documents)
    return {**citations.read_reply("", documents), "note": "streamed", "reply": streamed}
