"""Fine-tune at OpenAI, at Azure OpenAI, or at anything that speaks the same protocol."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UserError
from ..files import hash_file, read_log, write_jsonl
from ..models.endpoint import CONNECTIONS, Endpoint
from ..models.openai_sdk import ApiError, classify_error, clean, open_sdk
from ..models.pricing import PER, find_price, load_prices
from .backend import Estimate, FineTuneSpec, Result, State, Status, Unreachable
from .training_files import check_files, count_tokens, has_rows

EVENTS = "events.jsonl"
_TIMEOUT = 120.0  # seconds; an upload of a large file included
_MARK = "raft_order"  # under which a job's metadata holds the spec's key
_STATES: dict[str, State] = {
    "running": "running",
    "paused": "running",
    "succeeded": "succeeded",
    "failed": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
}  # validating_files, queued, and Azure's pending and notRunning: queued
_LOSSES = ("train_loss", "valid_loss", "full_valid_loss")
_LOWEST_RATE = 0.01  # a multiplier below it is somebody's absolute learning rate

_T = TypeVar("_T")


@dataclass
class OpenAIBackend:
    """The backend `openai`; see `job.Backend` for what each method is for.

    `resolve` gives the endpoint when it is first called: checks and estimates need no key. `log` is the
    folder whose events.jsonl keeps what the service reports of a job.
    """

    resolve: Callable[[], Endpoint]
    log: Path | None = None
    name: str = field(default="openai", init=False)

    @cached_property
    def endpoint(self) -> Endpoint:
        """Find out who is called, and with which key."""
        return self.resolve()

    @property
    def azure(self) -> bool:
        """Tell whether this is Azure OpenAI, whose dated API knows neither `method` nor `metadata`."""
        return self.endpoint.kind == "azure_openai"

    def check(self, spec: FineTuneSpec) -> None:
        """Refuse what the service would, before anything is uploaded."""
        if spec.rank is not None:
            raise UserError("--rank is for the backend local: OpenAI does not let it be chosen")
        if spec.epochs != int(spec.epochs) or not 1 <= spec.epochs <= 50:
            raise UserError(f"--epochs {spec.epochs:g}: OpenAI takes whole epochs, 1 to 50")
        if spec.learning_rate is not None and spec.learning_rate < _LOWEST_RATE:
            raise UserError(
                f"--learning-rate {spec.learning_rate:g}: OpenAI takes a multiplier of its own rate, "
                "learning_rate_multiplier (0.5, 1, 2 …), not the rate itself"
            )
        check_files(spec, model=spec.model, hosted=True)

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Count the tokens trained, and what they cost by the price list."""
        tokens = count_tokens(spec)
        named = spec.model if spec.model.startswith("ft:") else f"ft:{spec.model}:"
        price = find_price(named, load_prices())
        if price is None or price.training is None:
            return Estimate(tokens, None, f"no price of training for {spec.model} in data/prices.json")
        basis = (
            f"${price.training:g} per million tokens ({price.source}, {price.as_of}), tokens by estimate; "
            "Azure OpenAI has a list of its own, and an hourly price for the deployment"
        )
        return Estimate(tokens, tokens * price.training / PER, basis)

    def sign_in(self) -> None:
        """Resolve the endpoint and its key."""
        _ = self.endpoint

    def find(self, spec: FineTuneSpec) -> str | None:
        """Give the latest job of this spec, however it ended.

        It is the one that carries the spec's key; where the service keeps no metadata, the one that
        trains the same file with the same settings.
        """

        async def search(sdk: Any) -> str | None:
            files = {file.id for file in await self._files(sdk) if file.filename == _name(spec, "train")}
            if files:
                async for job in sdk.fine_tuning.jobs.list(limit=100):  # the newest first
                    if job.training_file in files and _same(spec, job):
                        return str(job.id)
            return None

        return self._call(search)

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Upload the files that are not there yet, and create the job, once."""
        files = {
            split: self._upload(spec, split, on_step)
            for split in ("train", "valid")
            if has_rows(spec.file(split))
        }
        fields: dict[str, Any] = {
            "model": spec.model,
            "training_file": files["train"],
            "suffix": spec.suffix,
            "seed": spec.seed,
        }
        if "valid" in files:
            fields["validation_file"] = files["valid"]
        settings = _settings(spec)
        if self.azure:
            fields["hyperparameters"] = settings
        else:
            fields["method"] = {"type": "supervised", "supervised": {"hyperparameters": settings}}
            fields["metadata"] = {_MARK: spec.key}

        async def create(sdk: Any) -> str:
            return str((await sdk.fine_tuning.jobs.create(**fields)).id)

        try:
            return self._call(create, retries=0)  # a repeated request would be a second job
        except Unreachable:
            if job := self.find(spec):  # the request arrived, its answer did not
                return job
            raise

    def status(self, job: str) -> Status:
        """Look at a job and at what it reported since the last look."""

        async def look(sdk: Any) -> tuple[Any, list[dict[str, Any]]]:
            known = {event["id"] for event in self._read_events()}
            found, new = await sdk.fine_tuning.jobs.retrieve(job), []
            async for event in sdk.fine_tuning.jobs.list_events(job, limit=100):  # the newest first
                if event.id in known:
                    break
                new.append({**event.to_dict(), "job": job})
            return found, new[::-1]

        found, new = self._call(look)
        self._write_events(new)
        events = self._read_events() if self.log else new
        events = [event for event in events if event.get("job") == job]
        told = [event for event in events if event.get("type") == "metrics" and event.get("data")]
        last: dict[str, Any] = told[-1]["data"] if told else {}
        state = _STATES.get(found.status, "queued")
        message = self._clean(events[-1]["message"]) if events else ""
        if state == "failed":
            message = self._clean(found.error.message if found.error else "") or message
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
        """Give the tuned model's name; into `out` go its checkpoints, and a connection for a bare address."""

        async def fetch(sdk: Any) -> tuple[Any, list[Any]]:
            checkpoints = sdk.fine_tuning.jobs.checkpoints.list(job, limit=100)
            return await sdk.fine_tuning.jobs.retrieve(job), [each async for each in checkpoints]

        found, checkpoints = self._call(fetch)
        checkpoints.sort(key=lambda each: each.step_number)
        write_jsonl(out / "checkpoints.jsonl", [each.to_dict() for each in checkpoints])
        metrics = _losses(checkpoints[-1].metrics.to_dict()) if checkpoints else self.status(job)["metrics"]
        files = [str(out / name) for name in (EVENTS, "checkpoints.jsonl") if (out / name).is_file()]
        return Result(
            model=str(found.fine_tuned_model),
            connection=self._connection(str(found.fine_tuned_model), out),
            files=files,
            metrics=metrics,
        )

    def _connection(self, model: str, out: Path) -> Path:
        """Give the YAML of the connection that was used, or write one for an address."""
        import yaml

        named = CONNECTIONS / f"{self.endpoint.name}.yaml"
        if self.endpoint.name and named.is_file():
            return named
        fields = {
            "name": "tuned",
            "type": "custom",
            "configs": {"base_url": self.endpoint.base_url, "model": model},
            "secrets": {"api_key": "${env:RAFT_API_KEY}"},
        }
        path = out / "connection.yaml"
        path.write_text(yaml.safe_dump(fields, sort_keys=False, allow_unicode=True), encoding="utf-8")
        return path

    def _upload(self, spec: FineTuneSpec, split: str, on_step: Callable[[str], None]) -> str:
        """Upload a file under a name made of its content, unless one of that name is there."""
        path, name = spec.file(split), _name(spec, split)

        async def upload(sdk: Any) -> tuple[Any, bool]:
            known = [file for file in await self._files(sdk) if file.filename == name]
            if known:
                return known[0], False
            return await sdk.files.create(file=(name, path.read_bytes()), purpose="fine-tune"), True

        file, new = self._call(upload)
        if new:
            on_step(f"uploaded {path.name} as {file.id}")
        while self.azure and file.status not in ("processed", "error"):  # OpenAI's jobs wait by themselves
            time.sleep(2)
            file = self._call(partial(_retrieve, file=file.id))
        return str(file.id)

    @staticmethod
    async def _files(sdk: Any) -> list[Any]:
        return [
            file
            async for file in sdk.files.list(purpose="fine-tune")
            if file.status not in ("error", "deleted")
        ]

    def _read_events(self) -> list[dict[str, Any]]:
        """Read the events of this folder's jobs, oldest first."""
        return read_log(self.log / EVENTS) if self.log else []

    def _write_events(self, events: list[dict[str, Any]]) -> None:
        if self.log and events:
            self.log.mkdir(parents=True, exist_ok=True)
            with (self.log / EVENTS).open("a", encoding="utf-8") as file:
                file.writelines(
                    self._hide(json.dumps(event, ensure_ascii=False, default=str)) + "\n" for event in events
                )

    def _call(self, call: Callable[[Any], Awaitable[_T]], retries: int = 2) -> _T:
        """Make a call; whatever goes wrong is one line, `Unreachable` where it may pass."""

        async def make() -> _T:
            async with open_sdk(self.endpoint, _TIMEOUT) as sdk:
                return await call(sdk.with_options(max_retries=retries))

        try:
            return asyncio.run(make())
        except Exception as error:
            problem = self._to_exception(classify_error(error))
        raise problem  # out here it has no context, which would hold what the server echoed

    def _to_exception(self, told: ApiError) -> UserError:
        where, line = self.endpoint.base_url, f"HTTP {told.status}: {self._clean(told.message)}"
        if told.kind in ("timeout", "connection"):
            why = self._clean(told.message) or f"no answer in {_TIMEOUT:g} s"
            return Unreachable(f"nothing answers at {where} ({why}): run the same command again to go on")
        if told.kind != "status":
            return UserError(f"{where} cannot be called: {self._clean(told.message)}")
        if told.status == 429 and told.code == "insufficient_quota":
            return UserError(f"{where} has no paid quota left ({line}): check plan and billing")
        if told.status in (401, 403):
            key = self.endpoint.key_from or "the key"
            return UserError(f"{where} refused the call ({line}): check {key} and what it may use")
        if told.status in (408, 409, 429) or told.status >= 500:
            return Unreachable(f"{where} is not well ({line}): run the same command again to go on")
        return UserError(f"{where} refused the call ({line})")

    def _hide(self, text: str) -> str:
        key = self.endpoint.key
        return text.replace(key, "[key]") if len(key) >= 6 else text

    def _clean(self, text: str) -> str:
        return clean(text, self.endpoint.key)


async def _retrieve(sdk: Any, file: str) -> Any:
    return await sdk.files.retrieve(file)


def _name(spec: FineTuneSpec, split: str) -> str:
    path = spec.file(split)
    return f"raft-{hash_file(path)[:16]}.{path.name}"


def _settings(spec: FineTuneSpec) -> dict[str, Any]:
    """Give the hyper-parameters in the service's names; what is left out it chooses itself."""
    settings = {
        "n_epochs": int(spec.epochs),
        "batch_size": spec.batch_size,
        "learning_rate_multiplier": spec.learning_rate,
    }
    return {name: value for name, value in settings.items() if value is not None}


def _same(spec: FineTuneSpec, job: Any) -> bool:
    """Tell whether a job on the spec's training file is the spec's."""
    if job.metadata and _MARK in job.metadata:
        return bool(job.metadata[_MARK] == spec.key)
    found = job.hyperparameters.to_dict() if job.hyperparameters else {}
    return (
        job.model == spec.model
        and job.seed in (None, spec.seed)
        and all(found.get(name) == value for name, value in _settings(spec).items())
    )


def _losses(values: dict[str, Any]) -> dict[str, float]:
    return {name: float(values[name]) for name in _LOSSES if values.get(name) is not None}
