"""Find where the topic of a text changes, from the embeddings of its sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .split_units import HEADING, MUST, NEVER, Unit

if TYPE_CHECKING:
    import numpy as np

    from ..models.embed import Embedder

_WINDOW = 3  # sentences compared on either side of a gap
_MIN_SENTENCES = 4  # between two cuts


def cut_by_meaning(text: str, units: list[Unit], embedder: Embedder | None = None) -> None:
    """Set, in place, the strength of the cut before each unit.

    TextTiling (Hearst 1997, "TextTiling: Segmenting Text into Multi-paragraph Subtopic Passages")
    with sentence embeddings in place of word counts: the depth of a gap is how far the similarity of
    the sentences on its two sides lies below the nearest peaks. A gap deeper than the mean by more
    than one standard deviation is always cut. Headings keep their strength, and the unit right
    below a heading is never cut off.
    """
    if len(units) < 2 * _MIN_SENTENCES:
        return
    if embedder is None:
        from ..models.embed import Embedder as DefaultEmbedder

        embedder = DefaultEmbedder()
    depths = _depths(_similarities(embedder.embed([text[unit.start : unit.end] for unit in units])))
    threshold = depths.mean() + depths.std()
    since_cut = 1
    for unit, depth in zip(units[1:], depths, strict=True):
        if unit.cut == NEVER or unit.cut >= HEADING:
            since_cut = 1 if unit.cut >= HEADING else since_cut + 1
            continue
        unit.cut = MUST if depth > threshold and since_cut >= _MIN_SENTENCES else float(depth)
        since_cut = 1 if unit.cut == MUST else since_cut + 1


def _similarities(vectors: np.ndarray) -> np.ndarray:
    """Compute the cosine of the mean vectors before and after each of the len(vectors) - 1 gaps."""
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
    """Compute how far each value lies below the nearest peaks on its left and right, both depths added."""
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
