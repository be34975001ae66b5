"""Node: the model's reply → final answer, reasoning, and citations with their positions."""

from promptflow.core import tool

from tools.raft.rag import citations


@tool
def read_reply(text: object, documents: list, refusal: str = "") -> dict:
    """Parse a reply and look up its quotes; `reply` is the answer with its sources, for display.

    `sources` lists all documents, without their texts, so that a run stays readable. With a `refusal`, why
    the model was not asked, there is no reply to parse.
    If the reply is being streamed, only `reply` and `sources` are set: `reply` is a stream of pieces.
    """
    sources = citations.list_sources(documents)
    if refusal:
        refused = citations.refuse(refusal)
        return {**refused, "reply": citations.show_answer(refused, documents), "sources": sources}
    if text is None or isinstance(text, str):
        answer = citations.read_reply(text or "", documents)
        return {**answer, "reply": citations.show_answer(answer, documents), "sources": sources}
    streamed = citations.stream_answer(text, documents)
    return {**citations.read_reply("", documents), "note": "streamed", "reply": streamed, "sources": sources}
