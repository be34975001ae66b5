"""Node: the inputs of one line → a chunk, its text made safe."""

from promptflow.core import tool

from tools.raft.records import Chunk, make_chunk as build_chunk


@tool
def make_chunk(text: str, title: str, source: str, page: int, kind: str) -> Chunk:
    """Make a chunk out of its parts; page 0 stands for a document without pages."""
    return build_chunk(text, title=title, source=source, page=page or None, kind=kind)
