"""Node: what a line was split into → its counts, the output of the flow."""

from promptflow.core import tool

from tools.raft.generate.batches import count_chunks as count


@tool
def count_chunks(split: dict) -> dict:
    """Count documents, chunks, what was left out, and the characters (letters and digits) seen and kept."""
    return count([split])
