"""The columns of the table in the RAFT paper: how each is read and scored, and what was published."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluate.apibench import Hub
from .apibench import open_scorer, read_apibench
from .hotpotqa import read_hotpotqa, score_answer
from .pubmedqa import read_pubmedqa, score_decision, summarise_decisions
from .questions import Collection, Question

Row = Mapping[str, Any]
Score = Callable[[Question, Row], Mapping[str, float]]
Summarise = Callable[[Sequence[Question], Sequence[Row]], dict[str, float]]


@dataclass(frozen=True)
class Column:
    """One benchmark of the table."""

    name: str
    title: str
    metrics: Mapping[str, str]  # what each is, the table's own first; as shares, 0 to 1
    paper: Mapping[str, float]  # by arm, in percent
    constant: str  # the reply of a baseline that reads nothing
    read: Callable[[Path], Collection]
    open_scorer: Callable[[Path], Score]
    summarise: Summarise = lambda questions, rows: {}

    @property
    def metric(self) -> str:
        """The metric of the table."""
        return next(iter(self.metrics))


# Zhang et al. 2024, arXiv 2403.10131, table 1, in percent; the arms as there.
_PAPER = {
    "gpt35_rag": (71.60, 41.5, 29.08, 60.21, 65.59),
    "closed_book": (56.5, 0.54, 0.22, 0.0, 0.0),
    "rag": (58.8, 0.03, 26.43, 8.60, 43.06),
    "dsf": (59.7, 6.38, 61.06, 84.94, 86.56),
    "dsf_rag": (71.6, 4.41, 42.59, 82.80, 60.29),
    "raft": (73.30, 35.28, 74.00, 84.95, 86.86),
}


def _published(place: int) -> dict[str, float]:
    return {arm: figures[place] for arm, figures in _PAPER.items()}


_API_METRICS = {
    "accuracy": "any call of the gold domain, by syntax tree, as APIBench's own scorer judges",
    "gold_call": "the gold call, its arguments compared as values",
    "hallucination": "no call of the list, by the scorer's own rules",
    "invented_call": "a call, but none of an API of the list",
}


def _api_column(hub: Hub, title: str, place: int, constant: str) -> Column:
    return Column(
        hub,
        title,
        _API_METRICS,
        _published(place),
        constant,
        partial(read_apibench, hub),
        partial(open_scorer, hub),
    )


COLUMNS = {
    column.name: column
    for column in (
        Column(
            "pubmedqa",
            "PubMedQA",
            {
                "accuracy": "the decision is right",
                "macro_f1": "mean of the F1 of yes, no and maybe",
                "decided": "the answer decides at all",
            },
            _published(0),
            "yes",
            read_pubmedqa,
            lambda folder: score_decision,
            summarise_decisions,
        ),
        Column(
            "hotpotqa",
            "HotpotQA",
            {
                "exact_match": "the answer is the gold one, as HotpotQA normalises it",
                "f1": "words in common with the gold answer",
                "facts_exact": "exactly the supporting sentences are quoted",
                "facts_f1": "supporting sentences among those quoted",
                "joint_exact": "answer and supporting sentences, both exactly",
                "joint_f1": "both, by their precisions and recalls multiplied",
            },
            _published(1),
            "yes",
            read_hotpotqa,
            lambda folder: score_answer,
        ),
        _api_column("huggingface", "Hugging Face", 2, "pipeline('summarization')"),
        _api_column(
            "torchhub", "Torch Hub", 3, "torch.hub.load('pytorch/vision', 'resnet18', pretrained=True)"
        ),
        _api_column(
            "tensorflowhub",
            "TensorFlow Hub",
            4,
            "hub.load('https://tfhub.dev/google/universal-sentence-encoder/4')",
        ),
    )
}


def choose_columns(names: Sequence[str]) -> list[Column]:
    """Return the columns with these names, all if there are none; raises UserError for an unknown one."""
    if unknown := [name for name in names if name not in COLUMNS]:
        raise UserError(f"unknown column {unknown[0]!r}: choose from {', '.join(COLUMNS)}")
    return [column for name, column in COLUMNS.items() if not names or name in names]
