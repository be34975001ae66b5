"""The fields of a fine-tuning job in OpenAI's protocol, and whether a job that exists is that of a spec.

Source: the SDK's JobCreateParams, and for Azure's v1 API Azure/azure-rest-api-specs,
specification/ai/data-plane/OpenAI.v1 (CreateFineTuningJobRequest). `trainingType` is not in that
specification, but in https://learn.microsoft.com/azure/foundry/openai/how-to/fine-tuning (2026-10-05). The
dated API has neither `method` nor `metadata` (AzureOpenAI/authoring/stable/2024-10-21 there).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..choices import TrainingType
from .backend import FineTuneSpec
from .foundry.tiers import TRAINING_NAMES

_METADATA_KEY = "raft_order"  # where a job's metadata holds the key of its spec


def job_fields(
    spec: FineTuneSpec, files: Mapping[str, str], *, dated: bool, tier: TrainingType | None
) -> dict[str, Any]:
    """Return the arguments that create a job with the SDK, given the ids of the files of each split."""
    fields: dict[str, Any] = {
        "model": spec.model,
        "training_file": files["train"],
        "suffix": spec.suffix,
        "seed": spec.seed,
    }
    if "valid" in files:
        fields["validation_file"] = files["valid"]
    if dated:
        fields["hyperparameters"] = _settings(spec)
    else:
        fields["method"] = _method(spec)
        fields["metadata"] = {_METADATA_KEY: spec.key}
    if tier:
        fields["extra_body"] = {"trainingType": TRAINING_NAMES[tier]}
    return fields


def is_job_of(spec: FineTuneSpec, job: Mapping[str, Any]) -> bool:
    """Return whether a job that trains the spec's file is a job of this spec.

    It is if it carries the spec's key or, on a service that keeps no metadata, if it has the same settings.
    `job`: its plain values, since replies of Azure lack fields that the SDK's model requires.
    """
    metadata = job.get("metadata") or {}
    if _METADATA_KEY in metadata:
        return bool(metadata[_METADATA_KEY] == spec.key)
    method = job.get("method") or {}
    settings = {
        **(job.get("hyperparameters") or {}),
        **((method.get(method.get("type")) or {}).get("hyperparameters") or {}),
    }
    return (
        _same_model(spec.model, str(job.get("model")))
        and job.get("seed") in (None, spec.seed)
        and _same_tier(spec.training_type, job.get("trainingType"))
        and all(settings.get(name) == value for name, value in _settings(spec).items())
    )


def _method(spec: FineTuneSpec) -> dict[str, Any]:
    """Return how the model is trained, as the field `method` has it."""
    kind = "dpo" if spec.method == "dpo" else "supervised"
    return {"type": kind, kind: {"hyperparameters": _settings(spec)}}


def _settings(spec: FineTuneSpec) -> dict[str, Any]:
    """Return the hyper-parameters under the service's names; it chooses those that are missing."""
    settings = {
        "n_epochs": int(spec.epochs),
        "batch_size": spec.batch_size,
        "learning_rate_multiplier": spec.learning_rate,
        "beta": spec.beta,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _same_model(asked: str, trained: str) -> bool:
    """Return whether a job trains the model asked for; the service adds a date to a name without one."""
    return bool(re.fullmatch(re.escape(asked) + r"(-\d{4}-\d{2}-\d{2})?", trained, re.IGNORECASE))


def _same_tier(asked: TrainingType | None, named: str | None) -> bool:
    """Return whether a job has the tier asked for, as far as both are known; the service changes the case."""
    return not asked or not named or TRAINING_NAMES[asked].casefold() == named.casefold()
