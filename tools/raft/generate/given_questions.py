"""Read a user's questions, and find the chunks that may answer each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ..questions import gold_answers, read_questions
from ..rag.search import Retriever
from ..records import Chunk
from ..text.answers import holds_answer
from ..text.sanitize import sanitize, sanitize_name

_CANDIDATES = 3  # chunks tried, best first, before the question is rejected
_DEPTH = 20  # results among which chunks that hold the given answer are moved to the front


class GivenQuestion(TypedDict):
    """One row of a questions file; everything but the question may be empty."""

    question: str
    answers: list[str]  # the right ones
    answerable: bool  # False: the row says that no document answers it
    relevant: list[str]  # ids or sources of the chunks that answer it
    chunk_id: str  # of the only chunk to ask about


def read_given_questions(path: Path) -> list[GivenQuestion]:
    """Read a questions file: JSON lines with `question` and, if known, its answers, `source`, `chunk_id`.

    Answers and oracle are read as for a comparison. Raises UserError for a row that cannot be read.
    """
    rows: list[GivenQuestion] = []
    for row in read_questions(path):
        golds, places = gold_answers(row), row.get("relevant") or ()
        places = [places] if isinstance(places, str) else list(places)
        if row.get("source"):
            places.append(row["source"])
        rows.append(
            {
                "question": _clean(row["question"]),
                "answers": [_clean(gold) for gold in golds or ()],
                "answerable": golds != (),
                "relevant": [_clean(place) for place in places],
                "chunk_id": _clean(row.get("chunk_id") or ""),
            }
        )
    return rows


def _clean(value: object) -> str:
    return sanitize(str(value)).strip()


class Locator:
    """Find candidate oracle chunks in a whole corpus."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._retriever = Retriever(chunks, "lexical")

    def candidates(self, row: GivenQuestion) -> list[Chunk]:
        """Return the chunks most likely to answer a row, best first; an empty list if none matches.

        A chunk id determines the chunk; relevant ids and sources narrow the search, the ids first; then come
        chunks with a right answer.
        """
        if row["chunk_id"]:
            return [chunk for chunk in self._chunks if chunk["id"] == row["chunk_id"]]
        query = " ".join([row["question"], *row["answers"][:1]])
        ranking = [self._chunks[i] for i in self._retriever.search([query], len(self._chunks))[0]]
        if places := row["relevant"]:
            ranking = [
                chunk
                for chunk in ranking
                if chunk["id"] in places or any(_is_from(chunk["source"], place) for place in places)
            ]
        # The sorts are stable: chunks with and without the answer keep their ranking.
        ranking.sort(key=lambda chunk: chunk["id"] not in places)
        ranking = ranking[:_DEPTH]
        ranking.sort(
            key=lambda chunk: (
                chunk["id"] not in places,
                not any(holds_answer(chunk["text"], answer) for answer in row["answers"]),
            )
        )
        return ranking[:_CANDIDATES]


def _is_from(source: str, path: str) -> bool:
    """Return whether a chunk's source is the file with this path or end of a path, or a row of that file."""
    path = sanitize_name(path).replace("\\", "/")
    return any(name == path or name.endswith("/" + path) for name in (source, source.partition("#")[0]))
