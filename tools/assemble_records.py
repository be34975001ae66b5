"""Node: verified drafts and their distractors → RAFT records."""

from promptflow.core import tool

from tools.raft.assemble import assemble_record


@tool
def assemble_records(
    chunk: dict, drafts: list, distractors: dict, p: float, no_oracle: str, seed: int
) -> list:
    """Assemble one record a draft, the oracle among its documents with probability p."""
    return [
        assemble_record(draft, chunk, drawn, p=p, seed=seed, split=distractors["split"], no_oracle=no_oracle)
        for draft, drawn in zip(drafts, distractors["drawn"], strict=True)
    ]
