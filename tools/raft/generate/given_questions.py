"""Read a user's questions, and find the chunks that may answer each."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from ..on_disk import Column, positions_by_id
from ..questions import gold_answers, named_oracles, read_questions
from ..rag.search import Retriever
from ..records import Chunk
from ..text.answers import holds_answer
from ..text.normalise import normalise
from ..text.sanitize import sanitize, sanitize_name

_CANDIDATES = 3  # chunks tried, best first, before the question is rejected
_DEPTH = 20  # results among which chunks that hold the given answer are moved to the front


class _Several(TypedDict, total=False):
    oracles: list[str]  # ids or sources of several chunks, all of which are needed


class GivenQuestion(_Several):
    """One row of a questions file; everything but the question may be empty."""

    question: str
    answers: list[str]  # the right ones
    answerable: bool  # False: the row says that no document answers it
    relevant: list[str]  # ids or sources of the chunks that answer it
    chunk_id: str  # of the only chunk to ask about


def read_given_questions(path: Path) -> list[GivenQuestion]:
    """Read a questions file: JSON lines with `question` and, if known, its answers, `source`, `chunk_id`.

    Answers and oracle are read as for a comparison: any of what is `relevant` will do, all `oracles` are
    needed. Raises UserError for a row that cannot be read.
    """
    rows: list[GivenQuestion] = []
    for row in read_questions(path):
        golds, places = gold_answers(row), row.get("relevant") or ()
        places = [places] if isinstance(places, str) else list(places)
        if row.get("source"):
            places.append(row["source"])
        needed = [_clean(name) for name in named_oracles(row)]
        rows.append(
            {
                "question": _clean(row["question"]),
                "answers": [_clean(gold) for gold in golds or ()],
                "answerable": golds != (),
                "relevant": needed if len(needed) == 1 else [_clean(place) for place in places],
                "chunk_id": _clean(row.get("chunk_id") or ""),
            }
        )
        if len(needed) > 1:
            rows[-1]["oracles"] = needed
    return rows


def _clean(value: object) -> str:
    return sanitize(str(value)).strip()


class Locator:
    """Find candidate oracle chunks in a whole corpus."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self._retriever = Retriever(chunks, "lexical")
        self._ids = positions_by_id(chunks)
        self._sources: dict[str, array[int]] = {}
        for position, source in enumerate(Column(chunks, "source")):
            self._sources.setdefault(source, array("I")).append(position)

    def candidates(self, row: GivenQuestion) -> list[Chunk]:
        """Return the chunks most likely to answer a row, best first; an empty list if none matches.

        A chunk id determines the chunk; relevant ids and sources narrow the search, the ids first; then come
        chunks with a right answer.
        """
        if row["chunk_id"]:
            position = self._ids.get(row["chunk_id"])
            return [] if position is None else [self._chunks[position]]
        query = " ".join([row["question"], *row["answers"][:1]])
        places = row["relevant"]
        if places:
            named = self._named(places)
            ranking = [i for i in self._retriever.search([query], len(self._chunks))[0] if i in named]
        else:
            ranking = self._retriever.search([query], _DEPTH)[0]
        # The sorts are stable: chunks with and without the answer keep their ranking.
        first = {self._ids.get(place) for place in places}
        ranking.sort(key=lambda position: position not in first)
        found = [self._chunks[position] for position in ranking[:_DEPTH]]
        found.sort(
            key=lambda chunk: (
                chunk["id"] not in places,
                not any(holds_answer(chunk["text"], answer) for answer in row["answers"]),
            )
        )
        return found[:_CANDIDATES]

    def oracles(self, row: GivenQuestion) -> list[Chunk] | str:
        """Return the chunks that a question with several `oracles` needs, in order, or why there are none.

        Of a source with several chunks, the one that the retriever ranks first for question and answer.
        """
        places = row.get("oracles", [])
        query = " ".join([row["question"], *row["answers"][:1]])
        ranking = self._retriever.search([query], len(self._chunks))[0]
        ranks = {position: rank for rank, position in enumerate(ranking)}
        found: dict[int, None] = {}
        for place in places:
            named = self._named([place])
            if not named:
                return f"no chunk found for one of its oracles: {place}"
            # Two names of one document stand for two of its chunks.
            free = named - found.keys()
            if not free:
                return f"two of its oracles are the same chunk: {place}"
            found[min(free, key=lambda position: (ranks.get(position, len(ranking)), position))] = None
        chunks = [self._chunks[position] for position in found]
        if len({normalise(chunk["text"]) for chunk in chunks}) < len(chunks):
            return "two of its oracles have the same text"
        return chunks

    def chunks(self, ids: Sequence[str]) -> list[Chunk]:
        """Return the chunks with some ids."""
        positions = [self._ids.get(id) for id in ids]
        return [self._chunks[position] for position in positions if position is not None]

    def _named(self, places: Sequence[str]) -> set[int]:
        """Return the positions of the chunks with some ids, or from some sources."""
        named = {position for place in places if (position := self._ids.get(place)) is not None}
        for source, positions in self._sources.items():
            if any(_is_from(source, place) for place in places):
                named.update(positions)
        return named


def _is_from(source: str, path: str) -> bool:
    """Return whether a chunk's source is the file with this path or end of a path, or a row of that file."""
    path = sanitize_name(path).replace("\\", "/")
    return any(name == path or name.endswith("/" + path) for name in (source, source.partition("#")[0]))
