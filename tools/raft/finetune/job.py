"""Submit a fine-tuning job, poll it, and resume it after an interruption, wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from ..choices import BackendName, DeploymentType, TrainingType, check_choice
from ..errors import UserError
from ..files import write_json
from ..models.endpoint import Endpoint, Lookup, resolve_endpoint, without_version
from ..models.lives import Host
from ..models.pricing import Price
from ..models.service import Unreachable
from .backend import ENDED, Backend, FineTuneSpec, Status
from .leave_out import leave_out_long
from .lengths import Lengths

RECORD = "job.json"
_HOSTS: dict[str, Host] = {"openai": "openai", "azure_openai": "azure"}  # of the files in connections/
PATIENCE = 10  # consecutive polls that may fail before run_job gives up


class JobRecord(TypedDict):
    """The content of job.json; it never holds a key, a token or a signed URL."""

    backend: str
    key: str
    order: dict[str, Any]  # the fields of the FineTuneSpec; the key is read from earlier records
    state: str  # submitting, refused (the service took nothing), or a State
    job: str
    steps: list[str]  # what was uploaded or set up before the submission
    message: str
    metrics: dict[str, float]
    result: dict[str, Any]


def run_job(
    backend: Backend,
    spec: FineTuneSpec,
    out: Path,
    *,
    wait: bool = True,
    poll: float = 30.0,
    on_status: Callable[[Status], None] = lambda status: None,
) -> JobRecord:
    """Submit a job and follow it to its end, or resume an interrupted run.

    `out`/job.json is written before the submission, after it, and at the end. If it exists, the job in it is
    followed; if its state is "submitting", the service is searched for the job first. A spec that failed, was
    cancelled or refused is submitted again, one that succeeded is not. `poll` is in seconds; without `wait`,
    the job is polled once. Raises UserError if `out` holds another spec, and whatever the backend raises.
    """
    record = read_record(out)
    if record and record["state"] == "refused":
        record = None
    if record and (record["key"], record["backend"]) != (spec.key, backend.name):
        raise UserError(
            f"{out / RECORD} belongs to another spec ({record['order'].get('model')}, {record['backend']}): "
            "use another --out, or remove that file if its job is no longer needed"
        )
    if record and record["state"] == "succeeded" and record["result"]:
        return record
    record = record or _new_record(backend, spec)
    job = record["job"]
    if record["state"] in ("failed", "cancelled"):
        job = ""
    elif not job:
        job = backend.find(spec) or ""
    if not job:
        backend.check_life(spec)
        _save(out, record, state="submitting", job="", message="")
        try:
            job = backend.submit(spec, lambda step: _save(out, record, steps=[*record["steps"], step]))
        except UserError as error:
            if not isinstance(error, Unreachable):  # then a job may have been created
                _save(out, record, state="refused")
            raise
    if job != record["job"]:
        _save(out, record, state="queued", job=job)
    for status in _follow(backend, job, poll if wait else 0):
        _save(out, record, state=status["state"], message=status["message"], metrics=status["metrics"])
        on_status(status)
        if not wait:
            break
    if record["state"] == "succeeded":
        result = backend.result(spec, job, out)
        connection = str(result["connection"]) if result["connection"] else None
        _save(out, record, result={**result, "connection": connection})
    return record


def check_spec(
    backend: Backend, spec: FineTuneSpec, out: Path, *, skip_long: bool = False
) -> tuple[FineTuneSpec, Lengths]:
    """Check a spec; return the one to submit and the lengths of the rows that were found.

    With skip_long, rows longer than the model takes are left out: the spec to submit is then that of a copy
    of the dataset in `out`, which gets checked as well. Raises UserError for what cannot be trained on.
    """
    lengths = backend.check(spec, skip_long=skip_long)
    if not lengths.long:
        return spec, lengths
    shortened = leave_out_long(spec, lengths, out)
    backend.check(shortened)
    return shortened, lengths


def read_record(out: Path) -> JobRecord | None:
    """Read `out`/job.json; None if it does not exist. Raises UserError if it is damaged."""
    try:
        text = (out / RECORD).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    try:
        record: JobRecord = json.loads(text)
        if not JobRecord.__required_keys__ <= record.keys():
            raise ValueError
    except (ValueError, AttributeError):
        raise UserError(
            f"{out / RECORD} is damaged: remove it and run again; the job is then found by its spec"
        ) from None
    return record


def spec_fields(spec: FineTuneSpec) -> dict[str, Any]:
    """Return a spec as plain values, as a record stores it."""
    return {**dataclasses.asdict(spec), "dataset": str(spec.dataset), "overrides": list(spec.overrides)}


def sweep_folders(out: Path, rates: list[float]) -> dict[float, Path]:
    """Return the record folder of each learning rate: `out` itself if there is only one."""
    if len(rates) == 1:
        return {rates[0]: out}
    return {rate: out / f"lr-{rate:g}" for rate in rates}


def _follow(backend: Backend, job: str, poll: float) -> Iterator[Status]:
    """Yield the status of a job until it has ended, tolerating short outages of the service."""
    failures = 0
    while True:
        try:
            status = backend.status(job)
        except Unreachable:
            failures += 1
            if failures >= PATIENCE or not poll:
                raise
        else:
            failures = 0
            yield status
            if status["state"] in ENDED:
                return
        time.sleep(poll)


def _new_record(backend: Backend, spec: FineTuneSpec) -> JobRecord:
    return JobRecord(
        backend=backend.name,
        key=spec.key,
        order=spec_fields(spec),
        state="submitting",
        job="",
        steps=[],
        message="",
        metrics={},
        result={},
    )


def _save(out: Path, record: JobRecord, **changes: Any) -> None:
    """Update the record and write it atomically."""
    record.update(changes)  # type: ignore[typeddict-item]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, record)


def open_backend(
    name: BackendName,
    model: str,
    folder: Path,
    *,
    connection: str | Endpoint = "",
    base_url: str = "",
    deploy: bool = False,
    training_type: TrainingType | None = None,
    deployment_type: DeploymentType = "global",
    prices: Mapping[str, Price] | None = None,
    lookup: Lookup | None = None,
) -> Backend:
    """Return the backend for a job whose record is in `folder`, without calling it yet.

    `connection`, `base_url` and `lookup` are for `openai`, as in `resolve_endpoint`, or the connection is an
    endpoint already. `training_type`, the tier of a job at Azure, needs the v1 API, which is then spoken
    whatever version the connection names. `deploy` is for `azure-ml` and, with `deployment_type`, for
    `openai` at Azure. `prices` are what a service's estimate goes by, the project's list by default. Raises
    UserError for an unknown name.
    """
    if name == "openai":
        from .openai import OpenAIBackend

        def resolve() -> Endpoint:
            endpoint = (
                connection
                if isinstance(connection, Endpoint)
                else resolve_endpoint(
                    connection or (None if base_url else "openai"),
                    model=model,
                    base_url=base_url or None,
                    lookup=lookup,
                    to_call=False,  # that a model is not called any more does not say whether it is trained
                )
            )
            return without_version(endpoint) if training_type else endpoint

        named = "" if isinstance(connection, Endpoint) else connection.partition(":")[0]
        host = _HOSTS.get(named or ("" if base_url or connection else "openai"))
        return OpenAIBackend(resolve, folder, host, deployment_type if deploy else None, prices)
    if name == "azure-ml":
        from .azure.backend import AzureMLBackend

        return AzureMLBackend(deploy=deploy, prices=prices)
    if name == "trl":
        from .trl.backend import TrlBackend

        return TrlBackend(folder)
    check_choice("backend", name, BackendName)
    from .local.backend import LocalBackend

    return LocalBackend(folder)
