"""Node: the inputs of one line → a chunk with sanitized text."""

from promptflow.core import tool

from tools.raft.ingest.chunks import make_chunk as make


@tool
def make_chunk(id: str, text: str, title: str, source: str, page: object, kind: str) -> dict:
    """Build a chunk from its parts; page is null for a document without pages."""
    # A batch reads its data with pandas: where one line has no page, that is NaN and the others are 3.0.
    number = float(str(page)) if page not in (None, "") else 0.0
    return make(text, title=title, source=source, page=int(number) if number > 0 else None, kind=kind, id=id)
