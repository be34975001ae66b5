"""Node: verified questions → k + 1 distractors for each, out of the corpus."""

from pathlib import Path

from promptflow.core import tool

from tools.raft.generate.distractors import open_distractors


@tool
def draw_distractors(
    chunk: dict, drafts: list, chunks_file: str, distractors: int, negatives: str, seed: int
) -> dict:
    """Draw distractors for each draft; gives the chunk's split and, for each draft, a list of chunks."""
    file = Path(__file__).parent.parent / chunks_file  # below the flow's folder, unless it is absolute
    corpus = open_distractors(file, distractors=distractors, negatives=negatives, seed=seed)
    return {"split": corpus.split_of(chunk), "drawn": corpus.draw(drafts, chunk, k=distractors, seed=seed)}
