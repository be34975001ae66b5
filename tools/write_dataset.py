"""Node: the drafts of all questions → a RAFT dataset in the folder `out`."""

from enum import Enum

from promptflow.core import log_metric, tool

from tools.raft.generate.batches import assemble_batch
from tools.raft.generate.settings import DatasetSettings
from tools.run_folder import run_folder


class Negatives(str, Enum):
    """How distractors are drawn."""

    lexical = "lexical"
    dense = "dense"
    fused = "fused"
    random = "random"


class NoOracle(str, Enum):
    """The answer of a row without its oracle."""

    keep = "keep"
    refuse = "refuse"


@tool
def write_dataset(
    drafts: list, chunks_file: list, out: list, distractors: int, p: float, negatives: Negatives,
    no_oracle: NoOracle, valid: float, test: float, seed: list, drills: int = 0,
    ranked: bool = False, focus: bool = False,
) -> dict:  # fmt: skip
    """Drop repeats, draw distractors, assemble, split and write, with the counts as metrics of the run."""
    settings = DatasetSettings(
        distractors=distractors, p=p, seed=max(seed), valid=valid, test=test, drills=drills,
        negatives=getattr(negatives, "value", negatives),
        no_oracle=getattr(no_oracle, "value", no_oracle),
        order="ranked" if ranked else "shuffled", focus=focus, formats=("chat", "eval"),
    )  # fmt: skip
    folder, chunks = run_folder("out", out), run_folder("chunks_file", chunks_file)
    counts: dict = {"rows": sum(not draft["reason"] for draft in drafts), "lines": len(drafts)}
    if folder and chunks:
        counts |= assemble_batch(chunks, drafts, folder, settings)["counts"]
    for name in [name for name, value in counts.items() if isinstance(value, (int, float))]:
        log_metric(name, counts[name])
    return counts
