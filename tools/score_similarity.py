"""Node: an answer and its gold answers → their semantic similarity."""

from promptflow.core import ToolProvider, tool

from tools.connections import lookup
from tools.raft.evaluate.score import read_gold, score_similarity
from tools.raft.models.embed_endpoint import open_embedder


class ScoreSimilarity(ToolProvider):
    """Hold the embedding model, by default the embedded one."""

    def __init__(self, embedding_model: str = "", preload_embeddings: bool = True) -> None:
        super().__init__()
        self._embedder = open_embedder(embedding_model, lookup=lookup)
        if preload_embeddings:  # once: not in each worker of a batch
            self._embedder.load()

    @tool
    def score(self, answer: dict, gold: dict) -> dict:
        """Compute the cosine similarity with the closest gold answer; empty if no gold answer is known."""
        parsed = read_gold(gold)
        if not parsed.answers:
            return {}
        return {"similarity": score_similarity([answer], [parsed], self._embedder)[0]}
