"""Node: verified drafts and their distractors → RAFT records."""

from promptflow.core import tool

from tools.raft.generate import assemble


@tool
def assemble_records(
    chunk: dict, drafts: list, distractors: dict, p: float, no_oracle: str, seed: int
) -> list:
    """Assemble one record per draft, with the oracle among its documents with probability p."""
    drawn, split = distractors["drawn"], distractors["split"]
    return assemble.assemble_records(drafts, chunk, drawn, p=p, seed=seed, split=split, no_oracle=no_oracle)
