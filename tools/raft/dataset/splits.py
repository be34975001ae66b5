"""Assign chunks to train, valid and test, so that no chunk stands in two of them."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UserError
from ..records import Split, content_id


def assign_splits(
    chunk_ids: Iterable[str], *, seed: int, valid: float = 0.1, test: float = 0.1, smallest: int
) -> tuple[dict[str, Split], list[str]]:
    """Assign every chunk to a split, and say where a split is not of the size asked for.

    The distractors of a row come out of its own split, so a split that holds rows takes at least
    `smallest` chunks (distractors + 2). A valid or test split whose share makes fewer is raised to
    that while train keeps half of all chunks; otherwise it stays empty. The test split comes first.

    The order of the input does not matter: chunks are ordered by the hash of seed and id.
    Gives {chunk id: split} in that order, and one line for each deviation. Raises UserError where
    the shares make no sense or the chunks are too few for a single row.
    """
    for name, share in (("valid", valid), ("test", test)):
        if not 0 <= share <= 1:
            raise UserError(f"the share of the {name} split is {share:g}; give one from 0 to 1, such as 0.1")
    if valid + test > 1:
        raise UserError(f"valid {valid:g} and test {test:g} make more than 1; leave something to train on")
    left = sorted(set(chunk_ids), key=lambda chunk_id: content_id(seed, chunk_id))
    total = len(left)
    if total < smallest:
        raise UserError(
            f"{total} chunks are too few: {smallest - 2} distractors a row take {smallest}; "
            "add documents, or lower the chunk size or the number of distractors"
        )

    splits: dict[str, Split] = {}
    notes: list[str] = []
    shares: tuple[tuple[Split, float], ...] = (("test", test), ("valid", valid))
    for name, share in shares:
        wanted = int(total * share + 0.5)
        size = max(wanted, smallest) if share else 0
        # Raising a split must not eat the training data; what the user asked for outright may.
        raised = size > wanted
        reserve = max(smallest, (total + 1) // 2) if raised else smallest
        remaining = len(left) - size
        if size and remaining < reserve and (raised or remaining):
            notes.append(
                f"no {name} split: it takes {size} chunks (distractors + 2 at least), too many of {total}"
            )
            continue
        if raised:
            notes.append(
                f"the {name} split has {size} of {total} chunks, not {wanted}: a row takes distractors + 2"
            )
        splits.update((chunk_id, name) for chunk_id in left[:size])
        left = left[size:]
    splits.update((chunk_id, "train") for chunk_id in left)
    return splits, notes
