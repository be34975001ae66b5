"""Draw the distractors of a question: hard negatives, or chunks at random."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..dataset.splits import assign_splits
from ..errors import UserError
from ..ingest.chunks import read_chunks
from ..rag.search import Mode, Retriever
from ..records import Chunk, Draft, Split
from ..text.answers import holds_normalised
from ..text.normalise import normalise

if TYPE_CHECKING:
    from ..models.embed import Embedder

Negatives = Literal["lexical", "dense", "fused", "random"]

_DEPTH = 8  # results looked at beyond those wanted, to make up for the oracle and chunks holding the answer


class Distractors:
    """Draw distractors out of a whole corpus, each row's from its own split.

    `negatives` is a retrieval mode, for hard negatives, or "random".
    """

    def __init__(self, chunks: Iterable[Chunk], splits: Mapping[str, Split], negatives: Negatives) -> None:
        mode: Mode | None = None if negatives == "random" else negatives
        embedder = None
        if mode in ("dense", "fused"):
            from ..models.embed import Embedder

            embedder = Embedder()
        pools: dict[Split, list[Chunk]] = {}
        for chunk in chunks:
            pools.setdefault(splits[chunk["id"]], []).append(chunk)
        self._splits = splits
        self._pools = {split: _Pool(pool, mode, embedder) for split, pool in pools.items()}

    def split_of(self, chunk: Chunk) -> Split:
        """Name the split of a chunk; one that is not of the corpus trains."""
        return self._splits.get(chunk["id"], "train")

    def draw(
        self, drafts: Sequence[Draft], oracle: Chunk, *, k: int, seed: int, round: int | None = None
    ) -> list[list[Chunk]]:
        """Draw k + 1 chunks for each draft, none of them the oracle or of the same text.

        The last one is only used where the oracle is left out. A chunk that holds the answer is
        taken only when nothing else is left. The draw depends on the seed and the row alone.
        With a round, all drafts get the same wherever their answers admit it: the chunks nearest to the
        oracle, in each round the next ones. Raises UserError where the split is too small.
        """
        pool = self._pools[self.split_of(oracle)]
        answers = [draft["final_answer"] for draft in drafts]
        if round is not None:
            return pool.draw_together(answers, oracle, k + 1, seed, round)
        return pool.draw([draft["question"] for draft in drafts], answers, oracle, k + 1, seed)


@lru_cache(maxsize=4)
def open_distractors(chunks_file: Path, *, distractors: int, negatives: Negatives, seed: int) -> Distractors:
    """Make the distractors of a chunks.jsonl ready; the splits are those `generate` makes by default.

    Read once a process. Raises UserError where the file is missing or no chunks.jsonl.
    """
    chunks = list(read_chunks(chunks_file))
    splits, _ = assign_splits([chunk["id"] for chunk in chunks], seed=seed, smallest=distractors + 2)
    return Distractors(chunks, splits, negatives)


class _Pool:
    """The chunks of one split."""

    def __init__(self, chunks: Sequence[Chunk], mode: Mode | None, embedder: Embedder | None) -> None:
        self._chunks = chunks
        self._texts = [normalise(chunk["text"]) for chunk in chunks]
        self._retriever = Retriever(chunks, mode, embedder) if mode else None

    def draw(
        self, questions: Sequence[str], answers: Sequence[str], oracle: Chunk, count: int, seed: int
    ) -> list[list[Chunk]]:
        found = (
            self._retriever.search(questions, count + _DEPTH) if self._retriever else [[] for _ in questions]
        )
        return [
            self._pick(question, answer, oracle, count, seed, ranking)
            for question, answer, ranking in zip(questions, answers, found, strict=True)
        ]

    def draw_together(
        self, answers: Sequence[str], oracle: Chunk, count: int, seed: int, round: int
    ) -> list[list[Chunk]]:
        # Each round takes up where the last one ended; the last chunk, mostly not in use, stands in both.
        begin = round * (count - 1)
        end = begin + count
        near = self._retriever.search([oracle["text"]], end + _DEPTH)[0] if self._retriever else []
        return [self._pick("", answer, oracle, end, seed, near)[begin:] for answer in answers]

    def _pick(
        self, question: str, answer: str, oracle: Chunk, count: int, seed: int, ranking: Sequence[int]
    ) -> list[Chunk]:
        answer = normalise(answer)
        oracle_text = normalise(oracle["text"])
        picked: list[Chunk] = []
        spare: list[Chunk] = []
        seen = {oracle_text}
        for position in self._order(question, oracle, seed, ranking):
            text = self._texts[position]
            if text in seen:
                continue
            seen.add(text)
            (spare if holds_normalised(text, answer) else picked).append(self._chunks[position])
            if len(picked) == count:
                return picked
        picked += spare[: count - len(picked)]
        if len(picked) < count:
            raise UserError(
                f"{len(self._chunks)} chunks are too few for {count - 1} distractors; "
                "add documents, or lower --distractors or --chunk-size"
            )
        return picked

    def _order(self, question: str, oracle: Chunk, seed: int, ranking: Sequence[int]) -> Iterator[int]:
        """Give positions to try: the retrieved ones first, then the rest in a random order, lazily."""
        yield from ranking
        rng = random.Random(f"distractors {seed} {oracle['id']} {question}")
        taken = set(ranking)
        # Draw a few at a time: shuffling 10,000 positions for every question would take longer than all else.
        for _ in range(4 * _DEPTH + len(self._chunks) // 64):
            position = rng.randrange(len(self._chunks))
            if position not in taken:
                taken.add(position)
                yield position
        rest = [position for position in range(len(self._chunks)) if position not in taken]
        rng.shuffle(rest)
        yield from rest
