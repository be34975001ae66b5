"""Find the chunk that answers a question somebody brought along, and answer it from there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypedDict

from ..files import read_questions
from ..rag.search import Retriever
from ..records import Chunk, Draft, new_draft
from ..text.answers import holds_answer
from ..text.sanitize import sanitize

_CANDIDATES = 3  # chunks tried, best first, before the question is given up
_DEPTH = 20  # results among which chunks holding the given answer are preferred


class GivenQuestion(TypedDict):
    """One row of a questions file; everything but the question may be empty."""

    question: str
    answer: str
    source: str
    chunk_id: str


def read_given_questions(path: Path) -> list[GivenQuestion]:
    """Read a questions file: JSON lines with `question` and, optionally, `answer`, `source`, `chunk_id`.

    Raises UserError naming the line that cannot be read.
    """
    rows = []
    for row in read_questions(path):
        values = {key: sanitize(str(row.get(key) or "")).strip() for key in GivenQuestion.__annotations__}
        rows.append(GivenQuestion(**values))  # type: ignore[typeddict-item]
    return rows


class Locator:
    """Find candidate oracle chunks over a whole corpus."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._retriever = Retriever(chunks, "lexical")

    def candidates(self, row: GivenQuestion) -> list[Chunk]:
        """Give the chunks most likely to answer a row, best first; empty where nothing fits.

        A chunk id decides; a source narrows the choice; chunks that hold the given answer come first.
        """
        if row["chunk_id"]:
            return [chunk for chunk in self._chunks if chunk["id"] == row["chunk_id"]]
        query = f"{row['question']} {row['answer']}"
        ranking = [self._chunks[at] for at in self._retriever.search([query], len(self._chunks))[0]]
        if row["source"]:
            ranking = [chunk for chunk in ranking if _is_from(chunk["source"], row["source"])]
        ranking = ranking[:_DEPTH]
        if row["answer"]:  # the sort is stable: each part keeps its ranking
            ranking.sort(key=lambda chunk: not holds_answer(chunk["text"], row["answer"]))
        return ranking[:_CANDIDATES]


def _is_from(source: str, named: str) -> bool:
    """Tell whether a source is the one a person named: a file, by the end of its path, or a row of it."""
    named = named.replace("\\", "/")
    return any(name == named or name.endswith("/" + named) for name in (source, source.partition("#")[0]))


async def draft_from_candidates(
    row: GivenQuestion,
    candidates: Sequence[Chunk],
    answer: Callable[[GivenQuestion, Chunk], Awaitable[Draft]],
) -> Draft:
    """Answer a given question from the first candidate chunk whose answer passes every check.

    Where none does, the draft of the best candidate comes back with its reason.
    """
    first: Draft | None = None
    for chunk in candidates:
        draft = await answer(row, chunk)
        if not draft["reason"]:
            return draft
        first = first or draft
    if first is None:
        first = new_draft(row["question"], row["chunk_id"], origin="given")
        first["reason"] = "no such chunk_id" if row["chunk_id"] else "no chunk found for it"
    return first
