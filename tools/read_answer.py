"""Node: the model's reply → final answer, reasoning, and quotes with their places."""

from promptflow.core import tool

from tools.raft.cite import read_reply, show_answer, stream_answer


@tool
def read_answer(text: object, documents: list) -> dict:
    """Take a reply apart and look up its quotes; `reply` is the answer with its sources, for people.

    Of a reply that is still coming only `reply` is given, piece by piece with the sources last.
    """
    if text is None or isinstance(text, str):
        answer = read_reply(text or "", documents)
        return {**answer, "reply": show_answer(answer, documents)}
    return {**read_reply("", documents), "note": "streamed", "reply": stream_answer(text, documents)}
