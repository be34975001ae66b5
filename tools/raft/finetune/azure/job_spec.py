"""Build the definition of an Azure ML fine-tuning job: its fields, its name, its YAML for the `az` CLI."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import UserError
from ..backend import FineTuneSpec
from ..training_files import has_rows

_MODEL = re.compile(
    r"(?:azureml://registries/)?(?P<registry>[\w.-]+)/(?:models/)?(?P<name>[\w.-]+)(?:/versions/|:)(?P<version>[\w.-]+)"
)


class BaseModel(NamedTuple):
    """One version of a model in a registry."""

    registry: str
    name: str
    version: str

    @property
    def uri(self) -> str:
        """Return the URI of this version, as a job expects it."""
        return f"{self.family}/versions/{self.version}"

    @property
    def family(self) -> str:
        """Return the URI without the version, as a marketplace subscription expects it."""
        return f"azureml://registries/{self.registry}/models/{self.name}"

    @property
    def provider(self) -> str:
        """Return who trains it: Azure OpenAI its own models, the workspace all others."""
        return "azure_open_ai" if self.registry == "azure-openai" else "custom"


def read_model(model: str) -> BaseModel:
    """Parse REGISTRY/NAME:VERSION, or the asset id shown in the model catalogue.

    Raises UserError for anything else: a job needs a version, and "latest" would change over time.
    """
    match = _MODEL.fullmatch(model.strip())
    if not match:
        raise UserError(
            f"--model {model}: the backend azure-ml expects REGISTRY/NAME:VERSION, such as "
            "azureml-meta/Llama-3.3-70B-Instruct:9 or azure-openai/gpt-4.1-mini:2025-04-14, or the "
            "asset id shown in the model catalogue"
        )
    return BaseModel(**match.groupdict())


def job_fields(spec: FineTuneSpec, name: str, data: Mapping[str, str]) -> dict[str, Any]:
    """Build the fields of the job's CLI YAML; `data` maps a split to a path or a reference.

    https://azuremlschemas.azureedge.net has no schema for this type; the fields are those that azure-ai-ml
    1.35.2 reads (FineTuningVerticalSchema) and its examples use. Hyper-parameters that are not set are chosen
    by the service, which does not accept a seed.
    """
    model = read_model(spec.model)
    fields: dict[str, Any] = {
        "type": "finetuning",
        "name": name,
        "display_name": name,
        "experiment_name": spec.suffix,
        "task": "text_completion" if spec.api == "completion" else "chat_completion",
        "model_provider": model.provider,
        "model": {"type": "mlflow_model", "path": model.uri},
        "training_data": {"type": "uri_file", "path": data["train"]},
    }
    if "valid" in data:
        fields["validation_data"] = {"type": "uri_file", "path": data["valid"]}
    epochs, rate, batch = spec.epochs, spec.learning_rate, spec.batch_size
    if model.provider == "custom":  # the names of the Hugging Face trainer, all values as strings
        settings = {
            "num_train_epochs": f"{epochs:g}",
            "learning_rate": None if rate is None else f"{Decimal(repr(rate)):f}",
            "per_device_train_batch_size": None if batch is None else str(batch),
        }
    else:  # the learning rate is a multiplier of the one the model was trained with
        settings = {"n_epochs": int(epochs), "learning_rate_multiplier": rate, "batch_size": batch}  # type: ignore[dict-item]
    fields["hyperparameters"] = {key: value for key, value in settings.items() if value is not None}
    fields["tags"] = {"raft_order": spec.key}
    fields["outputs"] = {"registered_model": {"type": "mlflow_model", "name": name}}
    return fields


def write_job(spec: FineTuneSpec, path: Path, *, name: str = "") -> None:
    """Write the job as YAML for `az ml job create`, with data paths relative to the file.

    `az` has to be run in that folder: for jobs of this type, azure-ai-ml 1.35.2 resolves paths against the
    working directory. The job has the same name, so `finetune` finds it and does not submit it again.
    """
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    data = {
        split: Path(os.path.relpath(spec.file(split).resolve(), folder)).as_posix()
        for split in ("train", "valid")
        if has_rows(spec.file(split))
    }
    text = yaml.safe_dump(job_fields(spec, name or job_name(spec), data), sort_keys=False, allow_unicode=True)
    path.write_text(f"# In this folder: az ml job create --file {path.name}\n{text}", encoding="utf-8")


def job_name(spec: FineTuneSpec) -> str:
    """Return the name of the job and of its registered model: at most 255 letters, digits, - and _."""
    return f"{_sanitize(spec.suffix)}-{spec.key}"


def endpoint_name(spec: FineTuneSpec) -> str:
    """Return the name of the endpoint: at most 32 lower-case letters, digits and -."""
    return f"{_sanitize(spec.suffix).lower().replace('_', '-')[:18].strip('-')}-{spec.key[:12].lower()}"


def _sanitize(suffix: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", suffix).strip("-_") or "raft"
