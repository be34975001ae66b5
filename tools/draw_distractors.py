"""Node: verified questions → k + 1 distractors from the corpus for each."""

from pathlib import Path

from promptflow.core import tool

from tools.raft.generate.distractors import open_distractors


@tool
def draw_distractors(
    chunk: dict, drafts: list, chunks_file: str, distractors: int, negatives: str, seed: int
) -> dict:
    """Draw distractors for each draft; return the chunk's split and one list of chunks per draft."""
    file = Path(__file__).parent.parent / chunks_file  # relative to the flow's folder, unless absolute
    corpus = open_distractors(file, distractors=distractors, negatives=negatives, seed=seed)
    return {"split": corpus.split_of(chunk), "drawn": corpus.draw(drafts, chunk, k=distractors, seed=seed)}
