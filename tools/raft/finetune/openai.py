"""Fine-tune at OpenAI, in Microsoft Foundry, or at any service that speaks the same protocol.

A resource of Foundry or Azure OpenAI has two APIs: v1, which takes OpenAI's fields and a tier, and an older
one with dated versions, which is spoken only where a connection names its version.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from ..choices import DeploymentType, TrainingType
from ..errors import UserError
from ..files import hash_file, read_log, write_jsonl
from ..models.endpoint import CONNECTIONS, Endpoint, environment, without_version
from ..models.lives import Host, check_pairs, check_trainable, host_of
from ..models.pricing import PER, Price, find_price, load_prices
from ..models.service import Refused, Service, Unreachable
from .backend import Estimate, FineTuneSpec, Result, State, Status
from .foundry import tiers
from .foundry.control_plane import foundry_errors, open_resource
from .lengths import Lengths
from .openai_job import is_job_of, job_fields
from .training_files import check_uploads, count_tokens, has_rows, without_bom

EVENTS = "events.jsonl"
_STATES: dict[str, State] = {
    "running": "running",
    "paused": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}  # the rest is queued: validating_files, queued, and Azure's pending and notRunning
_LOSSES = ("train_loss", "valid_loss", "full_valid_loss")
_MIN_MULTIPLIER = 0.01  # anything below is most likely an absolute learning rate
_PROCESSING = 2.0  # seconds between looks at a file that Azure has not processed yet

_T = TypeVar("_T")


@dataclass
class OpenAIBackend:
    """The backend `openai`; its methods are documented in `backend.Backend`.

    `resolve` returns the endpoint, and is called on first use: checks and estimates need no key. `log` is the
    folder whose events.jsonl collects the events of a job. `host` is whose service it is, if that is known
    without a key. `deployment` is the tier in which the tuned model will be deployed at Azure, if it will.
    `prices` are what an estimate goes by, the project's list by default.
    """

    resolve: Callable[[], Endpoint]
    log: Path | None = None
    host: Host | None = None
    deployment: DeploymentType | None = None
    prices: Mapping[str, Price] | None = None
    name: str = field(default="openai", init=False)

    @cached_property
    def endpoint(self) -> Endpoint:
        """Resolve the address and the key once."""
        return self.resolve()

    @cached_property
    def _service(self) -> Service:
        return Service(self.endpoint)

    @property
    def azure(self) -> bool:
        """Return whether this is a resource of Azure OpenAI or Microsoft Foundry."""
        return self.endpoint.kind == "azure_openai" or host_of(self.endpoint.base_url) == "azure"

    def _host(self) -> Host | None:
        """Return whose service it is, also in a dry run, which needs no key; None if that is not known."""
        try:
            return "azure" if self.azure else host_of(self.endpoint.base_url)
        except UserError:
            return self.host

    def _dated(self) -> bool:
        """Return whether the connection names a version of Azure's older API."""
        try:
            return bool(self.endpoint.api_version)
        except UserError:
            return False

    def training_type(self, spec: FineTuneSpec) -> TrainingType:
        """Return the tier of a job at Azure: by default Microsoft's advice, or what the dated API does."""
        return spec.training_type or ("standard" if self._dated() else "global")

    def _takes_tier(self, spec: FineTuneSpec) -> bool:
        """Return whether a job names its tier; the dated API takes one from 2025-04-01-preview on."""
        return self.azure and (spec.training_type is not None or not self.endpoint.api_version)

    def check(self, spec: FineTuneSpec, *, skip_long: bool = False) -> Lengths:
        """Raise UserError for what the service would refuse, before anything is uploaded."""
        if spec.rank is not None:
            raise UserError("--rank is for the backend local: OpenAI chooses the rank itself")
        if spec.epochs != int(spec.epochs) or not 1 <= spec.epochs <= 50:
            raise UserError(f"--epochs {spec.epochs:g}: OpenAI takes whole epochs, 1 to 50")
        if spec.learning_rate is not None and spec.learning_rate < _MIN_MULTIPLIER:
            raise UserError(
                f"--learning-rate {spec.learning_rate:g}: OpenAI takes a multiplier of its own rate, "
                "learning_rate_multiplier (0.5, 1, 2 …), not the rate itself"
            )
        return check_uploads(spec, model=spec.model, hosted=True, skip_long=skip_long)

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Estimate the tokens, and their cost from the price list."""
        tokens = count_tokens(spec)
        tuned = spec.model if spec.model.startswith("ft:") else f"ft:{spec.model}:"
        price = find_price(tuned, load_prices() if self.prices is None else self.prices)
        if price is None or price.training is None:
            basis = f"no training price for {tuned.rstrip(':')}: give one with --prices"
            return Estimate(tokens, None, basis + self._describe_tiers(spec))
        basis = (
            f"${price.training:g} per million tokens ({price.source}, {price.as_of}), tokens estimated; "
            "Azure OpenAI has its own price list, and charges for the deployment by the hour"
        )
        if spec.method == "dpo":
            basis += "; a pair is counted as two rows"
        return Estimate(tokens, tokens * price.training / PER, basis + self._describe_tiers(spec))

    def _describe_tiers(self, spec: FineTuneSpec) -> str:
        """Return what the tiers of a job at Azure mean for its price, or ""."""
        if self._host() != "azure" and not spec.training_type:
            return ""
        text = f"; {tiers.describe_training(self.training_type(spec))}"
        return text + (f"; {tiers.describe_deployment(self.deployment)}" if self.deployment else "")

    def check_life(self, spec: FineTuneSpec) -> None:
        """Raise UserError if the host does not train the model (any more), or not in the tiers asked for."""
        host, env = self._host(), environment()
        check_trainable(host, spec.model, "openai", env=env)
        if spec.method == "dpo":
            check_pairs(host, spec.model, env=env)
            if self._dated():  # without a method, a job would take the pairs for chats
                raise UserError(
                    "--method dpo needs Azure's v1 API: add --training-type, or name an endpoint that ends "
                    "in /openai/v1"
                )
        if host == "azure":
            tiers.check_training(spec.model, self.training_type(spec), env)
            if self.deployment:
                tiers.check_deployment(spec.model, self.deployment, env)
            if "." in spec.suffix:
                raise UserError(f"--suffix {spec.suffix}: Azure takes no dot in the name of a tuned model")
        elif host == "openai" and (spec.training_type or self.deployment):
            raise UserError(
                "--training-type and --deploy are for Azure: OpenAI has no tiers and deploys by itself"
            )

    def sign_in(self) -> None:
        """Resolve the endpoint and its key; find the resource if the model will be deployed there."""
        if self.deployment and self.azure:
            with foundry_errors():
                open_resource(self.endpoint)
        _ = self.endpoint

    def find(self, spec: FineTuneSpec) -> str | None:
        """Return the latest job of this spec, whatever its state.

        A job matches if it carries the spec's key or, on a service without metadata, if it trains the same
        file with the same settings.
        """

        name = _upload_name(spec, "train")
        uploaded = asyncio.run(self._service.files("fine-tune"))
        files = {file.id for file in uploaded if file.filename == name}

        async def search(sdk: Any) -> str | None:
            if files:
                async for job in sdk.fine_tuning.jobs.list(limit=100):  # newest first
                    if job.training_file in files and is_job_of(spec, job.to_dict()):
                        return str(job.id)
            return None

        return self._call(search)

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Upload the files that are missing, and create the job once."""
        if (spec.training_type or self.deployment) and not self.azure:
            where = self.endpoint.base_url
            raise UserError(f"--training-type and --deploy are for Azure, and {where} is not there")
        files = {
            split: self._upload(spec, split, on_step)
            for split in ("train", "valid")
            if has_rows(spec.file(split))
        }
        tier = self.training_type(spec) if self._takes_tier(spec) else None
        fields = job_fields(spec, files, dated=bool(self.endpoint.api_version), tier=tier)

        async def create(sdk: Any) -> str:
            return str((await sdk.fine_tuning.jobs.create(**fields)).id)

        try:
            return self._call(create, retries=0)  # a repeated request would create a second job
        except Unreachable:
            if job := self.find(spec):  # the request arrived, its reply was lost
                return job
            raise
        except Refused as refusal:
            if not self.azure:
                raise
            raise UserError(f"{refusal}; {tiers.explain_refusal(spec.model, tier, environment())}") from None

    def status(self, job: str) -> Status:
        """Return the status of a job, and store its events since the last call."""

        async def fetch(sdk: Any) -> tuple[Any, list[dict[str, Any]]]:
            known = {event["id"] for event in self._read_events()}
            details, new = await sdk.fine_tuning.jobs.retrieve(job), []
            async for event in sdk.fine_tuning.jobs.list_events(job, limit=100):  # newest first
                if event.id in known:
                    break
                new.append({**event.to_dict(), "job": job})
            return details, new[::-1]

        details, new = self._call(fetch)
        self._write_events(new)
        events = self._read_events() if self.log else new
        events = [event for event in events if event.get("job") == job]
        metrics = [event["data"] for event in events if event.get("type") == "metrics" and event.get("data")]
        last: dict[str, Any] = metrics[-1] if metrics else {}
        state = _STATES.get(details.status, "queued")
        message = self._service.clean(events[-1]["message"]) if events else ""
        if state == "failed":
            message = self._service.clean(details.error.message if details.error else "") or message
        return Status(
            state=state,
            message=message,
            step=last.get("step"),
            steps=last.get("total_steps"),
            metrics=_losses(last),
        )

    def cancel(self, job: str) -> None:
        """Cancel a job."""

        async def cancel(sdk: Any) -> None:
            await sdk.fine_tuning.jobs.cancel(job)

        self._call(cancel)

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Return the tuned model; its checkpoints, and a connection for a bare address, go into `out`."""

        async def fetch(sdk: Any) -> tuple[Any, list[Any]]:
            checkpoints = sdk.fine_tuning.jobs.checkpoints.list(job, limit=100)
            return await sdk.fine_tuning.jobs.retrieve(job), [item async for item in checkpoints]

        details, checkpoints = self._call(fetch)
        checkpoints.sort(key=lambda checkpoint: checkpoint.step_number)
        write_jsonl(out / "checkpoints.jsonl", [checkpoint.to_dict() for checkpoint in checkpoints])
        metrics = _losses(checkpoints[-1].metrics.to_dict()) if checkpoints else self.status(job)["metrics"]
        files = [str(out / name) for name in (EVENTS, "checkpoints.jsonl") if (out / name).is_file()]
        model = str(details.fine_tuned_model)
        return Result(
            model=model,
            # At Azure there is nothing to call before the model is deployed.
            connection=None if self.azure else self.connection(model, out),
            files=files,
            metrics=metrics,
        )

    def connection(self, model: str, out: Path) -> Path:
        """Return the YAML of the connection in use, or write one for a bare address."""
        import yaml

        existing = CONNECTIONS / f"{self.endpoint.name}.yaml"
        if self.endpoint.name and existing.is_file():
            return existing
        fields = {
            "name": "tuned",
            "type": "custom",
            "configs": {"base_url": without_version(self.endpoint).base_url, "model": model},
            "secrets": {"api_key": "${env:RAFT_API_KEY}"},
        }
        path = out / "connection.yaml"
        path.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def _upload(self, spec: FineTuneSpec, split: str, on_step: Callable[[str], None]) -> str:
        """Upload a file under a name derived from its content, unless it exists; return its id."""
        path, name = spec.file(split), _upload_name(spec, split)

        with without_bom(path) as plain:
            content = plain.read_bytes()
        file, new = asyncio.run(self._service.upload(name, content, "fine-tune"))
        if new:
            on_step(f"uploaded {path.name} as {file.id}")
        while self.azure and file.status not in ("processed", "error"):  # jobs at OpenAI wait for it
            time.sleep(_PROCESSING)
            file = self._call(partial(_retrieve, file=file.id))
        if file.status == "error":
            reason = self._service.clean(getattr(file, "status_details", None) or "no reason is given")
            raise UserError(f"{self.endpoint.base_url} cannot use {path}: {reason}")
        return str(file.id)

    def _read_events(self) -> list[dict[str, Any]]:
        """Read the events stored in `log`, oldest first."""
        return read_log(self.log / EVENTS) if self.log else []

    def _write_events(self, events: list[dict[str, Any]]) -> None:
        if self.log and events:
            self.log.mkdir(parents=True, exist_ok=True)
            with (self.log / EVENTS).open("a", encoding="utf-8") as file:
                file.writelines(
                    self._redact(json.dumps(event, ensure_ascii=False, default=str)) + "\n"
                    for event in events
                )

    def _call(self, call: Callable[[Any], Awaitable[_T]], retries: int = 2) -> _T:
        """Make a call. Raises a one-line UserError, `Unreachable` if the problem may pass."""
        return asyncio.run(self._service.call(call, retries=retries))

    def _redact(self, text: str) -> str:
        key = self.endpoint.key
        return text.replace(key, "[key]") if len(key) >= 6 else text


async def _retrieve(sdk: Any, file: str) -> Any:
    return await sdk.files.retrieve(file)


def _upload_name(spec: FineTuneSpec, split: str) -> str:
    path = spec.file(split)
    return f"raft-{hash_file(path)[:16]}.{path.name}"


def _losses(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(values[name]) for name in _LOSSES if values.get(name) is not None}
