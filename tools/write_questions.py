"""Node: the drafts of all chunks → questions.jsonl, the data of raft_generate."""

from promptflow.core import log_metric, tool

from tools.raft.generate import batches
from tools.run_folder import run_folder


@tool
def write_questions(chunks: list, drafts: list, out: list) -> dict:
    """Write a line per question, and one for those missing from a chunk; without `out`, only count."""
    folder = run_folder("out", out)
    counts = batches.write_questions(folder, chunks, drafts) if folder else batches.count_questions(drafts)
    for name, value in counts.items():
        log_metric(name, value)
    return counts
