"""What determines a dataset besides its documents and its model."""

from __future__ import annotations

from dataclasses import dataclass

from ..choices import FOCUS_SHARE, Chunking, Negatives, NoOracle, Order, check_choice
from ..errors import UserError


@dataclass(frozen=True)
class DatasetSettings:
    """What determines a dataset besides its documents and its model, all recorded in the manifest."""

    questions: int = 5
    distractors: int = 3
    p: float = 0.8
    seed: int = 42
    negatives: Negatives = "lexical"
    same_source: bool = False  # whether one distractor is from the oracle's own document
    no_oracle: NoOracle = "keep"
    order: Order = "shuffled"
    focus: bool = False  # whether instructions have the documents cut to their best sentences
    focus_share: float = FOCUS_SHARE
    valid: float = 0.1
    test: float = 0.1
    chunk_size: int = 512
    chunking: Chunking = "text"
    drills: int = 0
    hops: int = 1  # 2: questions about pairs of linked chunks, too
    formats: tuple[str, ...] = ("chat",)

    def __post_init__(self) -> None:
        check_choice("negatives", self.negatives, Negatives)
        check_choice("no_oracle", self.no_oracle, NoOracle)
        check_choice("order", self.order, Order)
        check_choice("chunking", self.chunking, Chunking)
        if self.hops not in (1, 2):
            raise UserError(f"hops: {self.hops} is neither 1 nor 2")
        if self.hops > self.distractors + 1:
            raise UserError("two documents do not fit into a row of one: raise --distractors to 1 or more")
