"""Draw the distractors of a question: hard negatives, or random chunks."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..choices import Negatives
from ..errors import UserError
from ..on_disk import RowFile, Subset
from ..rag.search import Retriever
from ..records import Chunk, Draft, Split
from ..text.answers import holds_normalised
from ..text.api_calls import call_field, documents_api
from ..text.normalise import normalise

if TYPE_CHECKING:
    from ..dataset.splits import Splits
    from ..models.embed import Embedder

# A strategy ranks the chunks of a split for each query: positions, best first. Those it leaves out are tried
# after them, in random order.
Ranker = Callable[[Sequence[str], Chunk, int], list[list[int]]]  # queries, oracle, results per query


class Drawn(NamedTuple):
    """The distractors of a question, best-ranked first."""

    chunks: list[Chunk]
    place: int  # how many of them, and of its further oracles, rank before the oracle
    other_places: tuple[int, ...] = ()  # the same for each further oracle


_DEPTH = 8  # extra results, to make up for the oracle and for chunks that hold the answer
_API_DEPTH = 256  # of API lists, of which one has 220 entries for a single call (TensorFlow Hub in APIBench)


class Distractors:
    """Draw distractors from a whole corpus, for each row from its own split.

    `negatives` is "random" or, for hard negatives, a retrieval mode. With `same_source`, one distractor is
    from the oracle's own document, if that has another chunk in the split: the hardest kind.
    """

    def __init__(
        self,
        chunks: Sequence[Chunk],
        splits: Splits | Mapping[str, Split],
        negatives: Negatives,
        *,
        same_source: bool = False,
    ) -> None:
        embedder = None
        if negatives in ("dense", "fused"):
            from ..models.embed import Embedder

            embedder = Embedder()
        positions: dict[Split, array[int]] = {}
        texts = RowFile()
        for position, chunk in enumerate(chunks):
            positions.setdefault(splits[chunk["id"]], array("I")).append(position)
            texts.append(normalise(chunk["text"]))
        self._splits = splits
        self._pools = {}
        for split, of_split in positions.items():
            pool = Subset(chunks, of_split)
            ranker = _open_ranker(pool, negatives, embedder)
            self._pools[split] = _Pool(pool, Subset(texts, of_split), ranker, same_source)

    def split_of(self, chunk: Chunk) -> Split:
        """Return the split of a chunk of the corpus."""
        return self._splits[chunk["id"]]

    def draw(
        self,
        drafts: Sequence[Draft],
        oracle: Chunk,
        *,
        k: int,
        seed: int,
        round: int = 0,
        shared: bool = False,
        others: Sequence[Sequence[Chunk]] = (),
    ) -> list[Drawn]:
        """Draw k + 1 chunks for each draft, none of them an oracle or with the text of one.

        others: the further oracles of each draft, if any has some. The last chunks, as many as there are
        oracles, are used only if these are left out. A chunk that holds the answer, or documents the API of
        an oracle, is drawn only if no others are left, and where none is left for the last places, oracles
        stand there. Each round has the next ones of the ranking. The draw depends only on the seed and the
        row. With `shared`, all drafts get the same chunks unless one holds their answer: those closest to
        the oracle. Raises UserError if the split is too small.
        """
        pool = self._pools[self.split_of(oracle)]
        answers = [draft["final_answer"] for draft in drafts]
        questions = ["" if shared else draft["question"] for draft in drafts]
        oracles = [(oracle, *further) for further in others or [()] * len(drafts)]
        return pool.draw(questions, answers, oracles, k + 1, seed, round)


def _open_ranker(chunks: Sequence[Chunk], negatives: Negatives, embedder: Embedder | None) -> Ranker:
    """Prepare a strategy for the chunks of one split."""
    if negatives == "random":
        return lambda queries, oracle, depth: [[] for _ in queries]
    retriever = Retriever(chunks, negatives, embedder)
    return lambda queries, oracle, depth: retriever.search(queries, depth)


class _Pool:
    """The chunks of one split."""

    def __init__(
        self, chunks: Sequence[Chunk], texts: Sequence[str], rank: Ranker, same_source: bool
    ) -> None:
        """Prepare to draw from chunks, whose normalised texts are given, too."""
        self._chunks, self._texts, self._rank = chunks, texts, rank
        self._by_source: dict[str, array[int]] = {}
        if same_source:
            for position, chunk in enumerate(chunks):
                self._by_source.setdefault(chunk["source"], array("I")).append(position)

    def draw(
        self,
        questions: Sequence[str],
        answers: Sequence[str],
        oracles: Sequence[tuple[Chunk, ...]],
        count: int,
        seed: int,
        round: int,
    ) -> list[Drawn]:
        """Draw the chunks of each question; an empty one stands for the text of its first oracle."""
        if not questions:
            return []
        first = oracles[0][0]  # the same for all
        # Each round starts at the last chunk of the previous one, which is used only without the oracle.
        start = round * (count - 1)
        end = start + count
        queries = list(dict.fromkeys(question or first["text"] for question in questions))
        more = _API_DEPTH if first["kind"] == "api" else _DEPTH
        depth = end + more + max(map(len, oracles)) - 1
        rankings = dict(zip(queries, self._rank(queries, first, depth), strict=True))
        drawn = []
        for question, answer, own in zip(questions, answers, oracles, strict=True):
            ranking = self._with_sibling(rankings[question or first["text"]], own, answer, count)
            picked, found = self._pick(question, answer, own, end, seed, ranking)
            # An oracle ranks behind the distractors found before it, and the oracles found before it.
            order = sorted(range(len(own)), key=lambda i: (found[i], i))
            places = {i: max(0, found[i][0] - start) + before for before, i in enumerate(order)}
            drawn.append(Drawn(picked[start:], places[0], tuple(places[i] for i in range(1, len(own)))))
        return drawn

    def _pick(
        self,
        question: str,
        answer: str,
        oracles: tuple[Chunk, ...],
        count: int,
        seed: int,
        ranking: Sequence[int],
    ) -> tuple[list[Chunk], list[tuple[int, int]]]:
        """Return the chunks drawn and, for each oracle, how many of them and of the oracles precede it."""
        answer = normalise(answer)
        picked: list[Chunk] = []
        spare: list[Chunk] = []
        own = [normalise(oracle["text"]) for oracle in oracles]
        found: dict[str, tuple[int, int]] = {}
        seen = set(own)
        for position in self._order(question, oracles[0], seed, ranking):
            text = self._texts[position]
            if text in own:
                found.setdefault(text, (len(picked), len(found)))
            if text in seen:
                continue
            seen.add(text)
            (spare if self._answers(position, answer, oracles) else picked).append(self._chunks[position])
            if len(picked) == count:
                break
        # An oracle that was not found comes last.
        places = [found.get(text, (count, len(found))) for text in own]
        picked += spare[: count - len(picked)]
        picked += oracles[: count - len(picked)]
        if len(picked) < count:
            raise UserError(
                f"{len(self._chunks)} chunks are too few for {count - 1} distractors; "
                "add documents, or lower --distractors or --chunk-size"
            )
        return picked, places

    def _answers(self, position: int, answer: str, oracles: tuple[Chunk, ...]) -> bool:
        """Return whether a chunk answers, too: it holds the answer, or documents the API of an oracle."""
        if holds_normalised(self._texts[position], answer):
            return True
        calls = [call_field(oracle["text"]) for oracle in oracles if oracle["kind"] == "api"]
        return any(documents_api(self._chunks[position]["text"], call) for call in calls if call)

    def _with_sibling(
        self, ranking: Sequence[int], oracles: tuple[Chunk, ...], answer: str, count: int
    ) -> Sequence[int]:
        """Return a ranking with a distractor of the oracle's own document near its top, if there is one."""
        own = {oracle["id"] for oracle in oracles}
        siblings = {
            position
            for position in self._by_source.get(oracles[0]["source"], ())
            if self._chunks[position]["id"] not in own
            and not self._answers(position, normalise(answer), oracles)
        }
        kept = max(0, count - len(oracles))  # distractors beside the oracles
        if not siblings or siblings.intersection(ranking[:kept]):
            return ranking
        best = next((position for position in ranking if position in siblings), min(siblings))
        others = [position for position in ranking if position != best]
        return [*others[: max(0, kept - 1)], best, *others[max(0, kept - 1) :]]

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
