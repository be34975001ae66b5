"""RAFT as a library, without promptflow: what callers need, each name imported when it is first used.

Anything else is imported from its module; CONTRIBUTING.md says which folder holds what.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    # documents → chunks
    "collect_chunks": "ingest.corpus",
    "ReadOptions": "ingest.read",
    "read_chunks": "ingest.chunks",
    # models
    "resolve_endpoint": "models.endpoint",
    "Endpoint": "models.endpoint",
    "serving": "models.embedded",
    "Client": "models.client",
    "Embedder": "models.embed",
    "load_prices": "models.pricing",
    # chunks → a verified dataset
    "DatasetSettings": "generate.settings",
    "build_dataset": "generate.pipeline",
    "summarise": "generate.summarise",
    "Record": "records",
    "validate_files": "dataset.validate",
    # chunks → index → answers
    "build_index": "rag.build_index",
    "open_index": "rag.index",
    "Hit": "rag.index",
    "answer_questions": "rag.answer",
    "read_reply": "rag.citations",
    # a dataset → a tuned model
    "FineTuneSpec": "finetune.backend",
    "open_backend": "finetune.job",
    "run_job": "finetune.job",
    # models → scores, a comparison and its report
    "choose_arms": "evaluate.arms",
    "ComparisonPlan": "evaluate.run",
    "run_comparison": "evaluate.run",
    "score_answer": "evaluate.score",
    # mistakes of the user, in one line
    "UserError": "errors",
}

__all__ = sorted(_NAMES)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f".{_NAMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return list(__all__)
