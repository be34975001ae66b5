"""Read a user's questions, and find the chunks that may answer each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ..files import read_questions
from ..rag.search import Retriever
from ..records import Chunk
from ..text.answers import holds_answer
from ..text.sanitize import sanitize, sanitize_name

_CANDIDATES = 3  # chunks tried, best first, before the question is rejected
_DEPTH = 20  # results among which chunks that hold the given answer are moved to the front


class GivenQuestion(TypedDict):
    """One row of a questions file; everything but the question may be empty."""

    question: str
    answer: str
    source: str
    chunk_id: str


def read_given_questions(path: Path) -> list[GivenQuestion]:
    """Read a questions file: JSON lines with `question` and, optionally, `answer`, `source`, `chunk_id`.

    Raises UserError with the number of the first invalid line.
    """
    rows = []
    for row in read_questions(path):
        values = {key: sanitize(str(row.get(key) or "")).strip() for key in GivenQuestion.__annotations__}
        rows.append(GivenQuestion(**values))  # type: ignore[typeddict-item]
    return rows


class Locator:
    """Find candidate oracle chunks in a whole corpus."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._retriever = Retriever(chunks, "lexical")

    def candidates(self, row: GivenQuestion) -> list[Chunk]:
        """Return the chunks most likely to answer a row, best first; an empty list if none matches.

        A chunk id determines the chunk; a source narrows the search; chunks with the given answer come first.
        """
        if row["chunk_id"]:
            return [chunk for chunk in self._chunks if chunk["id"] == row["chunk_id"]]
        query = f"{row['question']} {row['answer']}"
        ranking = [self._chunks[i] for i in self._retriever.search([query], len(self._chunks))[0]]
        if row["source"]:
            ranking = [chunk for chunk in ranking if _is_from(chunk["source"], row["source"])]
        ranking = ranking[:_DEPTH]
        if row["answer"]:  # the sort is stable: chunks with and without the answer keep their ranking
            ranking.sort(key=lambda chunk: not holds_answer(chunk["text"], row["answer"]))
        return ranking[:_CANDIDATES]


def _is_from(source: str, path: str) -> bool:
    """Return whether a chunk's source is the file with this path or end of a path, or a row of that file."""
    path = sanitize_name(path).replace("\\", "/")
    return any(name == path or name.endswith("/" + path) for name in (source, source.partition("#")[0]))
