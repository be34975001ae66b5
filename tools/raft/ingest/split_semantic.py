"""Say where the meaning of a text changes, by the vectors of its sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .split_units import HEADING, MUST, NEVER, Unit

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder

_WINDOW = 3  # sentences compared on either side of a gap
_LEAST = 4  # sentences between two cuts


def cut_by_meaning(text: str, units: list[Unit], embedder: Embedder | None = None) -> None:
    """Set, in place, how strongly each unit asks to be cut off from the one before it.

    TextTiling (Hearst 1997, "TextTiling: Segmenting Text into Multi-paragraph Subtopic Passages")
    with sentence vectors in place of word counts: the depth of a gap is how far the similarity of
    the sentences on its two sides lies below the nearest peaks. Gaps deeper than the mean by a
    standard deviation must be cut. Headings keep what they ask for, and the line below one stays.
    """
    if len(units) < 2 * _LEAST:
        return
    if embedder is None:
        from ..models.embed import Embedder as Default

        embedder = Default()
    depths = _depths(_similarities(embedder.embed([text[unit.start : unit.end] for unit in units])))
    deep = depths.mean() + depths.std()
    since = 1
    for unit, depth in zip(units[1:], depths, strict=True):
        if unit.cut == NEVER or unit.cut >= HEADING:
            since = 1 if unit.cut >= HEADING else since + 1
            continue
        unit.cut = MUST if depth > deep and since >= _LEAST else float(depth)
        since = 1 if unit.cut == MUST else since + 1


def _similarities(vectors: np.ndarray) -> np.ndarray:
    """Give the cosine of the mean vectors before and after each of the len(vectors) - 1 gaps."""
    import numpy as np

    count = len(vectors)
    sums = np.vstack([np.zeros_like(vectors[:1]), np.cumsum(vectors, axis=0)])
    gaps = np.arange(1, count)
    before = sums[gaps] - sums[np.maximum(gaps - _WINDOW, 0)]
    after = sums[np.minimum(gaps + _WINDOW, count)] - sums[gaps]
    norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    similarities: np.ndarray = (before * after).sum(axis=1) / np.maximum(norms, 1e-9)
    return similarities


def _depths(similarities: np.ndarray) -> np.ndarray:
    """Give how far each value lies below the peaks that one climbs to on its left and on its right."""
    import numpy as np

    depths = np.zeros_like(similarities)
    for step in (1, -1):
        peak = similarities[0 if step > 0 else -1]
        previous = peak
        for index in range(len(similarities))[::step]:
            value = similarities[index]
            peak = value if value > previous else peak
            depths[index] += peak - value
            previous = value
    return depths
