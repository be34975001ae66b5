"""Assign chunks to train, valid and test, so that no chunk is in two splits."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..errors import UserError
from ..records import Split, content_id


@dataclass(frozen=True)
class Splits:
    """The split of each chunk: a question of where the hash of seed and id lies, so little is stored."""

    seed: int
    ends: tuple[tuple[Split, int], ...]  # each with the hash at which the next begins; train is the rest
    moved: Mapping[str, Split] = field(default_factory=dict)  # by id, chunks that go with another one
    given_up: frozenset[Split] = frozenset()  # splits that became too small: their chunks are in train

    def __getitem__(self, chunk_id: str) -> Split:
        split = self.moved.get(chunk_id) or self._by_hash(chunk_id)
        return "train" if split in self.given_up else split

    def _by_hash(self, chunk_id: str) -> Split:
        key = _key(self.seed, chunk_id)
        return next((split for split, end in self.ends if key < end), "train")


def _key(seed: int, chunk_id: str) -> int:
    return int(content_id(seed, chunk_id), 16)


def assign_splits(
    chunk_ids: Iterable[str], *, seed: int, valid: float = 0.1, test: float = 0.1, smallest: int
) -> tuple[Splits, list[str]]:
    """Assign every chunk to a split, and note each split that does not have the requested size.

    The distractors of a row come from its own split, so a split with rows needs at least `smallest`
    chunks (distractors + 2, as one takes the place of an oracle that is left out). One less will do for the
    only split: its rows all keep their oracle. A valid or test split with a smaller share is raised to that
    size if train keeps half of all chunks, and is empty otherwise. The test split is assigned first.

    The order of the input does not matter: chunks are ordered by the hash of seed and id.
    Returns the splits, and one line for each deviation. Raises UserError if the shares are invalid or there
    are too few chunks for a single row.
    """
    import numpy as np

    for name, share in (("valid", valid), ("test", test)):
        if not 0 <= share <= 1:
            raise UserError(f"the share of the {name} split is {share:g}; use one from 0 to 1, such as 0.1")
    if valid + test > 1:
        raise UserError(f"the shares of valid ({valid:g}) and test ({test:g}) sum to more than 1; lower them")
    keys = np.unique(np.array(array("Q", (_key(seed, chunk_id) for chunk_id in chunk_ids)), dtype=np.uint64))
    total = len(keys)
    if total < smallest - 1:
        raise UserError(
            f"{total} chunks are too few: {smallest - 2} distractors a row need {smallest - 1}; "
            "add documents, or lower the chunk size or the number of distractors"
        )

    ends: list[tuple[Split, int]] = []
    assigned = 0
    notes: list[str] = []
    if total < smallest:
        notes.append("every row keeps its oracle: there is no other chunk to take its place")
    shares: tuple[tuple[Split, float], ...] = (("test", test), ("valid", valid))
    for name, share in shares:
        requested = int(total * share + 0.5)
        size = max(requested, smallest) if share else 0
        # A raised split must leave half of the chunks to train; a share that the user set may take them all.
        raised = size > requested
        reserve = max(smallest, (total + 1) // 2) if raised else smallest
        remaining = total - assigned - size
        if size and remaining < reserve and (raised or remaining):
            notes.append(
                f"no {name} split: it takes {size} chunks (distractors + 2 at least), too many of {total}"
            )
            continue
        if raised:
            notes.append(
                f"the {name} split has {size} of {total} chunks, not {requested}: a row takes distractors + 2"
            )
        assigned += size
        ends.append((name, int(keys[assigned]) if assigned < total else 2**64))
    return Splits(seed, tuple(ends)), notes


def join_chunks(
    splits: Splits, groups: Sequence[Sequence[str]], chunk_ids: Iterable[str], *, smallest: int
) -> tuple[Splits, list[str]]:
    """Move the chunks of each group into one split, since a question needs all of them.

    Groups with a chunk in common are joined. All chunks of a joined group go where the one with the smallest
    hash of seed and id is; every other chunk stays. A valid or test split that is left with fewer than
    `smallest` chunks is given up: they go to train. Returns the splits, and one line for each deviation.
    """
    parents: dict[str, str] = {}

    def root(chunk_id: str) -> str:
        parents.setdefault(chunk_id, chunk_id)
        while parents[chunk_id] != chunk_id:
            parents[chunk_id] = chunk_id = parents[parents[chunk_id]]
        return chunk_id

    for first, *others in groups:
        for other in others:
            # The one with the smaller hash becomes the root, so a root has the smallest of its group.
            low, high = sorted((root(first), root(other)), key=lambda id: (_key(splits.seed, id), id))
            parents[high] = low
    moved = {id: splits[own] for id in parents if splits[own := root(id)] != splits[id]}
    if not moved:
        return splits, []
    joined = replace(splits, moved=moved)
    notes = [f"{len(moved)} chunks changed their split, because questions need them with chunks of another"]
    sizes = Counter(joined[chunk_id] for chunk_id in chunk_ids)
    small: list[Split] = [split for split, _ in splits.ends if 0 < sizes[split] < smallest]
    for split in small:
        notes.append(f"no {split} split: {sizes[split]} chunks are left in it, and a row takes {smallest}")
    return replace(joined, given_up=frozenset(small)), notes
