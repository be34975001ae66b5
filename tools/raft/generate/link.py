"""Link chunks that a question may need together: by a rare name or number, by a title, or in retrieval."""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from ..on_disk import DiskMap, RowFile, Subset, hash_key
from ..rag.search import Retriever
from ..records import SPLITS, Chunk, Split, content_id
from ..text.answers import holds_normalised
from ..text.normalise import fold, normalise

if TYPE_CHECKING:
    from ..dataset.splits import Splits

_WORD = re.compile(r"\w+")
_STARTS = re.compile(r"(?:^|[.!?:;。！？…\n|])[\s\"'“”„«»()\[\]#*-]*$")  # what stands before a sentence
_PART = re.compile(r"\d[.,’'\u2009\u202f]$")
# Names in scripts without capitals: in quotation marks of their own, or in katakana.
_MARKED = re.compile(r"[“「『《〈]([^”」』》〉]{2,20})[”」』》〉]|([\u30a1-\u30fa\u30fc]{3,})")
_SHORTEST = 3  # characters of a name or a number
_COUNTERS = 2**22  # in which the chunks of each term are counted, 4 bytes each, however many terms there are
_FEW = 4  # chunks that may share a term in a small corpus; in a large one, every 50th
_CANDIDATES = 16  # results of retrieval that are looked at
_QUERY = 12  # terms of a query
_MOST = 4  # pairs of a chunk, so that a few general ones are not in all


class Pair(TypedDict):
    """Two linked chunks of one split."""

    ids: list[str]
    link: str  # the names and numbers that both have; empty for neighbours in retrieval


def link_chunks(
    chunks: Sequence[Chunk], splits: Splits | Mapping[str, Split], *, seed: int
) -> Sequence[Pair]:
    """Link each chunk of text with another one of its split, so that there are about as many pairs as chunks.

    Both have rare names or numbers in common, or one mentions the other's title; only a chunk without any
    such link gets its nearest neighbour. Chunks of different documents are preferred, and copies are never
    linked. No pair is there twice. The pairs are on disk, in the order of the chunks, and depend only on the
    chunks, their splits and the seed.
    """
    terms = _Terms(chunks)
    pairs = RowFile()
    positions: dict[Split, array[int]] = {split: array("I") for split in SPLITS}
    for position, chunk in enumerate(chunks):
        if chunk["kind"] == "text":
            positions[splits[chunk["id"]]].append(position)
    for own in positions.values():
        linker = _Linker(Subset(chunks, own), terms, seed)
        for position in range(len(own)):
            if pair := linker.link(position):
                pairs.append(pair)
    return pairs


def find_terms(text: str) -> dict[str, bool]:
    """Return the names and numbers of a text, and whether each stands inside a sentence somewhere.

    A name is a word with a capital, or what scripts without capitals mark otherwise. At the start of a
    sentence, every word has a capital: only other places tell a name.
    """
    text = fold(text)
    terms: dict[str, bool] = {}
    for match in _WORD.finditer(text):
        word = match.group()
        number = any(character.isdigit() for character in word)
        if len(word) < _SHORTEST or not (number or word[0].isupper() or word[0].istitle()):
            continue
        if number and _PART.search(text[max(0, match.start() - 2) : match.start()]):
            continue  # the thousands of 12,500 are no number of their own
        inside = number or not _STARTS.search(text[max(0, match.start() - 8) : match.start()])
        terms[word] = terms.get(word, False) or inside
    for quoted, katakana in _MARKED.findall(text):
        terms[quoted or katakana] = True
    return terms


class _Terms:
    """In how many chunks each term stands: counted by its hash, so memory does not grow with a corpus."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        import numpy as np

        self._counts = np.zeros(_COUNTERS, dtype=np.uint32)
        self._names = np.zeros(_COUNTERS, dtype=bool)
        for chunk in chunks:
            for term, inside in find_terms(chunk["text"]).items():
                place = hash_key(term) % _COUNTERS
                self._counts[place] += 1
                self._names[place] |= inside
        self._most = max(_FEW, len(chunks) // 50)

    def rare(self, text: str) -> dict[str, int]:
        """Return the terms of a text that a few other chunks have, too, with their counts, rarest first."""
        counts = {}
        for term in find_terms(text):
            place = hash_key(term) % _COUNTERS
            if self._names[place] and 2 <= self._counts[place] <= self._most:
                counts[term] = int(self._counts[place])
        return dict(sorted(counts.items(), key=lambda item: (item[1], item[0])))


class _View(NamedTuple):
    """What is looked at of a chunk, which takes a moment to compute."""

    id: str
    source: str
    name: str  # the title without what stands in brackets behind it
    normal_name: str
    text: str  # normalised
    rare: dict[str, int]

    def mentions(self, other: _View) -> bool:
        """Return whether it mentions the title of another document."""
        name = other.normal_name
        return name != self.normal_name and len(name) > _SHORTEST and holds_normalised(self.text, name)


class _Linker:
    """Finds a partner for each chunk of one split."""

    def __init__(self, chunks: Sequence[Chunk], terms: _Terms, seed: int) -> None:
        self._chunks, self._seed = chunks, seed
        self._retriever = Retriever(chunks)
        self._linked = DiskMap()
        self._uses = array("B", bytes(len(chunks)))
        self._terms = terms
        self._view = lru_cache(4096)(self._look_at)

    def link(self, position: int) -> Pair | None:
        """Return the pair of a chunk and its best partner, None if no partner is left."""
        view = self._view(position)
        query = " ".join([*list(view.rare)[:_QUERY], view.name])
        found = self._search(query)
        scored = [(*self._score(position, other), other) for other in found if other != position]
        linked = [(-score, rank, link, other) for rank, (score, link, other) in enumerate(scored) if score]
        linked.sort(key=lambda entry: (entry[0], self._hash(position, entry[3])))
        for _, _, link, other in linked:
            if self._take(position, other):
                return self._pair(position, other, link)
        for other in self._search(view.text):
            if other != position and self._take(position, other):
                return self._pair(position, other, "")
        return None

    def _look_at(self, position: int) -> _View:
        chunk = self._chunks[position]
        name = re.sub(r"\s*\([^()]*\)$", "", chunk["title"]).strip()
        text, rare = normalise(chunk["text"]), self._terms.rare(chunk["text"])
        return _View(chunk["id"], chunk["source"], name, normalise(name), text, rare)

    def _search(self, query: str) -> list[int]:
        return self._retriever.search([query], _CANDIDATES)[0]

    def _score(self, position: int, other: int) -> tuple[float, str]:
        """Return how closely two chunks are linked, 0 if they are not, and what links them."""
        chunk, partner = self._view(position), self._view(other)
        mine = chunk.rare
        shared = [term for term in mine if term in partner.rare]
        # A number in common is often a coincidence.
        score = sum((0.5 if term[0].isdigit() else 1.0) / mine[term] for term in shared)
        for one, another in ((chunk, partner), (partner, chunk)):
            if one.mentions(another):
                score += 1.0
                shared.append(another.name)
        if chunk.source != partner.source:
            score *= 2
        return score, ", ".join(dict.fromkeys(shared[:_FEW]))

    def _take(self, position: int, other: int) -> bool:
        """Return whether two chunks can be linked, and remember it."""
        if self._uses[other] >= _MOST:
            return False
        mine, theirs = self._view(position).text, self._view(other).text
        if mine in theirs or theirs in mine or not self._linked.add(f"{sorted((position, other))}"):
            return False
        self._uses[position] = min(255, self._uses[position] + 1)
        self._uses[other] += 1
        return True

    def _pair(self, position: int, other: int, link: str) -> Pair:
        ids = [self._view(position).id, self._view(other).id]
        # Which one comes first is left to chance, so that it is not always the one that mentions the other.
        ids.sort(key=lambda id: content_id("pair", self._seed, *sorted(ids), id))
        return {"ids": ids, "link": link}

    def _hash(self, position: int, other: int) -> str:
        ids = sorted((self._view(position).id, self._view(other).id))
        return content_id("link", self._seed, *ids)
