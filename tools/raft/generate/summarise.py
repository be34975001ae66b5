"""Summarise a dataset that was built: its manifest and its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..dataset.card import write_card, write_manifest
from ..dataset.export import PROMPT as RAFT_PROMPT
from ..dataset.pairs import REJECTED_ANSWERS, sum_pairs
from ..dataset.student import Student
from ..files import describe_file
from ..ingest.corpus import Corpus
from ..models.endpoint import Endpoint
from ..models.pricing import BATCH_SHARE, Price, dollars
from ..prompts import prompt_hash
from .draft import choose_teacher
from .draft_several import prompts as several_prompts
from .pipeline import BuildResult
from .row_lengths import measure_longest
from .settings import DatasetSettings


def summarise(
    result: BuildResult,
    corpus: Corpus,
    endpoints: Sequence[Endpoint],
    out: Path,
    settings: DatasetSettings,
    *,
    prices: Mapping[str, Price],
    student: Student | None = None,
    unknown: Sequence[str] = (),
) -> dict[str, Any]:
    """Write manifest.json and the dataset card beside the dataset, and return the manifest.

    student: the model that the longest row is measured for; without one, its length is an estimate.
    unknown: settings that were decided elsewhere, which are not recorded.
    """
    usage = result.usage
    for account in result.endpoints:
        account["cost_dollars"] = _cost(account, prices)
    costs = [
        account["cost_dollars"] for account in result.endpoints if account["calls"] or account["cached_calls"]
    ]
    teacher = choose_teacher(endpoints[0])
    prompts = {name for kind in {chunk["kind"] for chunk in corpus.chunks} for name in teacher.prompts(kind)}
    if settings.hops > 1 or result.counts.several:
        prompts.update(several_prompts(generated=settings.hops > 1))
    if settings.hops == 1:  # as in the manifests of earlier versions
        unknown = [*unknown, "hops"]
    longest = measure_longest(out / "raft.jsonl", student or Student("", None))
    if student and student.context and longest["tokens"] > student.context:
        result.notes.append(
            f"the longest row has {longest['tokens']:,} tokens, {student.name} takes {student.context:,}: "
            "`finetune --skip-long` leaves such rows out"
        )
    pairs = sum_pairs(result.files)["pairs"].total()
    others = ["chunks.jsonl", "raft.jsonl", "rejected.jsonl"]
    others += [REJECTED_ANSWERS] * (out / REJECTED_ANSWERS).exists()
    manifest = write_manifest(
        out / "manifest.json",
        settings={name: value for name, value in asdict(settings).items() if name not in unknown},
        seed=settings.seed,
        models={
            "teacher": " ".join(dict.fromkeys(endpoint.model for endpoint in endpoints)),
            "revision": endpoints[0].revision,
            **({"student": student.name} if student else {}),
        },
        prompt_hashes={name: prompt_hash(name) for name in {*prompts, RAFT_PROMPT}},
        counts={
            "documents": corpus.documents,
            "chunks": len(corpus.chunks),
            "rows": result.counts.rows,
            "rows_by_split": dict(result.counts.accepted),
            "rows_by_origin": dict(result.counts.origins),
            "rows_with_oracle": result.counts.with_oracle,
            **({"rows_with_several_oracles": result.counts.several} if result.counts.several else {}),
            **({"preference_pairs": pairs} if "dpo" in settings.formats else {}),
            "rejected": result.rejected.total(),
            "missing": result.counts.missing,
        },
        documents=[account.to_dict() for account in corpus.accounts],
        rejected_by_reason=result.rejected,
        longest_row=longest,
        tokens=usage.to_dict(),
        endpoints=result.endpoints,
        cost=None if not costs or None in costs else sum(costs),
        files={**result.files, **{name: describe_file(out / name) for name in others}},
        notes=result.notes,
        times={
            "seconds": round(result.seconds, 1),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    )
    write_card(out / "README.md", manifest)
    return manifest


def _cost(account: Mapping[str, Any], prices: Mapping[str, Price]) -> float | None:
    """Compute what the replies of an endpoint cost, those from the cache when they were paid for."""
    whole = dollars(
        account["model"],
        account["prompt_tokens"] + account["cached_prompt_tokens"],
        account["completion_tokens"] + account["cached_completion_tokens"],
        prices,
    )
    in_batches = dollars(
        account["model"], account["batch_prompt_tokens"], account["batch_completion_tokens"], prices
    )
    return None if whole is None or in_batches is None else whole - (1 - BATCH_SHARE) * in_batches
