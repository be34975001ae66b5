"""Node: the chunks of all lines → chunks.jsonl, the data of ask_questions."""

from promptflow.core import log_metric, tool

from tools.raft.generate.batches import write_chunks as write
from tools.run_folder import run_folder


@tool
def write_chunks(splits: list, out: list) -> dict:
    """Write the chunks, without those that repeat one of another line; without `out`, only count."""
    counts = write(run_folder("out", out), splits)
    for name, value in counts.items():
        log_metric(name, value)
    return counts
