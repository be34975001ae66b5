"""Node: the inputs of one line → a chunk with sanitized text."""

from promptflow.core import tool

from tools.raft.ingest.chunks import make_chunk as make


@tool
def make_chunk(id: str, text: str, title: str, source: str, page: int, kind: str) -> dict:
    """Build a chunk from its parts; page 0 stands for a document without pages."""
    return make(text, title=title, source=source, page=page or None, kind=kind, id=id)
