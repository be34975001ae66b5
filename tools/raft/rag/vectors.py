"""Search vectors: all of them, or in a compressed inverted file whose results are ranked anew from disk."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..on_disk import DiskArray

# Up to this many vectors a query is compared with all of them: 5 ms at 384 dimensions on one core.
EXACT_UP_TO = 50_000
BLOCK = 65_536  # vectors in memory at a time

# Beyond, vectors are grouped in lists around centroids and compressed to a code each (Jégou, Douze and
# Schmid, "Product Quantization for Nearest Neighbor Search", 2011). A query is compared with the codes of the
# nearest lists, and then with the vectors of the best of these.
LISTS = 2  # times the square root of the number of vectors
RECALL = 0.98  # of the ten nearest of a vector among its candidates, for which enough lists are probed
ASKED = 200  # vectors that this is measured with
CODE = 4  # dimensions that a byte of the code stands for
TRAINED = 48  # vectors for each centroid
REFINED = 500  # candidates that are compared with their vectors, beside ten for each result


def exact_index(vectors: np.ndarray) -> Any:
    """Build a FAISS index that compares a query with every vector."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def compressed_index(vectors: DiskArray) -> Any:
    """Build a FAISS inverted file of compressed unit vectors, shape (vectors, dimensions).

    It takes a byte in memory for every CODE dimensions and eight for the number of a vector. The same vectors
    give the same index.
    """
    import faiss
    import numpy as np

    count, dimensions = vectors.shape
    lists = int(LISTS * math.sqrt(count))
    quantizer = faiss.IndexFlatIP(dimensions)
    # Bytes of a code divide the vector evenly: with 384 dimensions, 96.
    size = next(size for size in range(max(1, dimensions // CODE), 0, -1) if dimensions % size == 0)
    index = faiss.IndexIVFPQ(quantizer, dimensions, lists, size, 8, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True
    sample = np.random.default_rng(0).choice(count, min(count, TRAINED * lists), replace=False)
    index.train(vectors.rows(np.sort(sample).tolist()).astype(np.float32))
    for block in _blocks(vectors):
        index.add(block)
    index.nprobe = _choose_probes(index, vectors)
    return index


def _choose_probes(index: Any, vectors: DiskArray) -> int:
    """Return how many lists to probe: the fewest, of powers of two, with which RECALL is reached.

    How many depends on the vectors: few if they lie close to each other in topics, nearly all if they do not.
    """
    import faiss
    import numpy as np
    from faiss.contrib.exhaustive_search import knn_ground_truth

    asked = np.sort(np.random.default_rng(1).choice(len(vectors), min(ASKED, len(vectors)), replace=False))
    queries = vectors.rows(asked.tolist()).astype(np.float32)
    _, nearest = knn_ground_truth(queries, _blocks(vectors), 11, faiss.METRIC_INNER_PRODUCT, ngpu=0)
    probes = 16
    while probes < index.nlist:
        index.nprobe = probes
        _, candidates = index.search(queries, _count_candidates(len(vectors), 10))
        hits = [
            np.isin(true[true != own][:10], found).mean()
            for own, true, found in zip(asked, nearest, candidates, strict=True)
        ]
        if np.mean(hits) >= RECALL:
            return probes
        probes *= 2
    return int(index.nlist)


def _blocks(vectors: DiskArray) -> Iterator[np.ndarray]:
    for start in range(0, len(vectors), BLOCK):
        yield vectors[start : start + BLOCK].astype("float32")


def _count_candidates(vectors: int, k: int) -> int:
    """Return how many candidates there are for k results."""
    return min(vectors, REFINED + 10 * k)


class Refined:
    """A compressed index whose results are ranked anew by the vectors themselves, which stay on disk.

    It is searched as FAISS's own indexes are.
    """

    def __init__(self, index: Any, vectors: DiskArray) -> None:
        self._index, self._vectors = index, vectors
        self.ntotal, self.d = vectors.shape

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and positions, -1 where fewer are found: shapes (queries, k)."""
        import numpy as np

        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        positions = np.full((len(queries), k), -1, dtype=np.int64)
        _, candidates = self._index.search(queries, _count_candidates(self.ntotal, k))
        for row, (query, found) in enumerate(zip(queries, candidates, strict=True)):
            found = np.sort(found[found >= 0])
            exact = self._vectors.rows(found.tolist()).astype(np.float32) @ query
            best = np.argsort(-exact, kind="stable")[:k]
            scores[row, : len(best)], positions[row, : len(best)] = exact[best], found[best]
        return scores, positions


def open_compressed(path: Path, vectors: DiskArray) -> Refined:
    """Open a compressed index without reading it: its lists are mapped into memory."""
    import faiss

    return Refined(faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY), vectors)
