"""Node: what a line was split into → its counts, the output of the flow."""

from promptflow.core import tool


@tool
def count_chunks(split: dict) -> dict:
    """Count documents, chunks, and files and chunks left out."""
    return {"documents": split["documents"], **{name: len(split[name]) for name in ("chunks", "left_out")}}
