"""Draw the distractors of a question: hard negatives, or random chunks."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from ..choices import Negatives
from ..errors import UserError
from ..rag.search import Retriever
from ..records import Chunk, Draft, Split
from ..text.answers import holds_normalised
from ..text.normalise import normalise

if TYPE_CHECKING:
    from ..models.embed import Embedder

# A strategy ranks the chunks of a split for each query: positions, best first. Those it leaves out are tried
# after them, in random order.
Ranker = Callable[[Sequence[str], Chunk, int], list[list[int]]]  # queries, oracle, results per query

_DEPTH = 8  # extra results, to make up for the oracle and for chunks that hold the answer


class Distractors:
    """Draw distractors from a whole corpus, for each row from its own split.

    `negatives` is "random" or, for hard negatives, a retrieval mode.
    """

    def __init__(self, chunks: Iterable[Chunk], splits: Mapping[str, Split], negatives: Negatives) -> None:
        embedder = None
        if negatives in ("dense", "fused"):
            from ..models.embed import Embedder

            embedder = Embedder()
        pools: dict[Split, list[Chunk]] = {}
        for chunk in chunks:
            pools.setdefault(splits[chunk["id"]], []).append(chunk)
        self._splits = splits
        self._pools = {
            split: _Pool(pool, _open_ranker(pool, negatives, embedder)) for split, pool in pools.items()
        }

    def split_of(self, chunk: Chunk) -> Split:
        """Return the split of a chunk; "train" for one that is not in the corpus."""
        return self._splits.get(chunk["id"], "train")

    def draw(
        self,
        drafts: Sequence[Draft],
        oracle: Chunk,
        *,
        k: int,
        seed: int,
        round: int = 0,
        shared: bool = False,
    ) -> list[list[Chunk]]:
        """Draw k + 1 chunks for each draft, none of them the oracle or with the same text.

        The last one is used only if the oracle is left out. A chunk that holds the answer is drawn only
        if no others are left, and where none is left for the last place, the oracle itself stands there.
        Each round has the next ones of the ranking. The draw depends only on the seed and the row.
        With `shared`, all drafts get the same chunks unless one holds their answer: those closest to the
        oracle. Raises UserError if the split is too small.
        """
        pool = self._pools[self.split_of(oracle)]
        answers = [draft["final_answer"] for draft in drafts]
        questions = ["" if shared else draft["question"] for draft in drafts]
        return pool.draw(questions, answers, oracle, k + 1, seed, round)


def _open_ranker(chunks: Sequence[Chunk], negatives: Negatives, embedder: Embedder | None) -> Ranker:
    """Prepare a strategy for the chunks of one split."""
    if negatives == "random":
        return lambda queries, oracle, depth: [[] for _ in queries]
    retriever = Retriever(chunks, negatives, embedder)
    return lambda queries, oracle, depth: retriever.search(queries, depth)


class _Pool:
    """The chunks of one split."""

    def __init__(self, chunks: Sequence[Chunk], rank: Ranker) -> None:
        self._chunks = chunks
        self._texts = [normalise(chunk["text"]) for chunk in chunks]
        self._rank = rank

    def draw(
        self,
        questions: Sequence[str],
        answers: Sequence[str],
        oracle: Chunk,
        count: int,
        seed: int,
        round: int,
    ) -> list[list[Chunk]]:
        """Draw the chunks of each question; an empty one stands for the oracle's text."""
        # Each round starts at the last chunk of the previous one, which is used only without the oracle.
        start = round * (count - 1)
        end = start + count
        queries = list(dict.fromkeys(question or oracle["text"] for question in questions))
        rankings = dict(zip(queries, self._rank(queries, oracle, end + _DEPTH), strict=True))
        return [
            self._pick(question, answer, oracle, end, seed, rankings[question or oracle["text"]])[start:]
            for question, answer in zip(questions, answers, strict=True)
        ]

    def _pick(
        self, question: str, answer: str, oracle: Chunk, count: int, seed: int, ranking: Sequence[int]
    ) -> list[Chunk]:
        answer = normalise(answer)
        picked: list[Chunk] = []
        spare: list[Chunk] = []
        seen = {normalise(oracle["text"])}
        for position in self._order(question, oracle, seed, ranking):
            text = self._texts[position]
            if text in seen:
                continue
            seen.add(text)
            (spare if holds_normalised(text, answer) else picked).append(self._chunks[position])
            if len(picked) == count:
                return picked
        picked += spare[: count - len(picked)]
        if len(picked) == count - 1:
            picked.append(oracle)
        if len(picked) < count:
            raise UserError(
                f"{len(self._chunks)} chunks are too few for {count - 1} distractors; "
                "add documents, or lower --distractors or --chunk-size"
            )
        return picked

    def _order(self, question: str, oracle: Chunk, seed: int, ranking: Sequence[int]) -> Iterator[int]:
        """Yield the positions to try: the retrieved ones, then the rest in random order."""
        yield from ranking
        rng = random.Random(f"distractors {seed} {oracle['id']} {question}")
        yielded = set(ranking)
        # A few single draws usually suffice: shuffling 10,000 positions for every question would dominate the
        # run time.
        for _ in range(4 * _DEPTH + len(self._chunks) // 64):
            position = rng.randrange(len(self._chunks))
            if position not in yielded:
                yielded.add(position)
                yield position
        rest = [position for position in range(len(self._chunks)) if position not in yielded]
        rng.shuffle(rest)
        yield from rest
