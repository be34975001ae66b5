"""Node: an answer and its gold answers → how similar they are in meaning."""

from promptflow.core import ToolProvider, tool

from tools.connections import lookup
from tools.raft.evaluate.score import read_gold, score_similarity
from tools.raft.models.embed_endpoint import open_embedder


class ScoreSimilarity(ToolProvider):
    """Holds the embedding model, loaded with the first answer: the embedded default where none is named."""

    def __init__(self, embedding_model: str = "") -> None:
        super().__init__()
        self._embedder = open_embedder(embedding_model, lookup=lookup)

    @tool
    def score(self, answer: dict, gold: dict) -> dict:
        """Compute the cosine with the closest gold answer; nothing where no gold answer is known."""
        known = read_gold(gold)
        return {"similarity": score_similarity([answer], [known], self._embedder)[0]} if known.answers else {}
