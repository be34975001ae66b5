"""Submit a fine-tuning job, poll it, and resume it after an interruption, wherever it runs."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypedDict

from ..errors import UserError
from ..files import write_json
from ..models.endpoint import Lookup, resolve_endpoint
from .backend import ENDED, Backend, FineTuneSpec, Status, Unreachable

BackendName = Literal["local", "azure-ml", "openai"]

RECORD = "job.json"
PATIENCE = 10  # looks in a row that may find the service unreachable before the waiting ends


class JobRecord(TypedDict):
    """What stands in job.json: no key, token or signed address ever does."""

    backend: str
    key: str
    order: dict[
        str, Any
    ]  # the fields of its FineTuneSpec, under the name that records of earlier versions have
    state: str  # submitting, or a State
    job: str
    steps: list[str]  # what was uploaded or set up on the way
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
    """Submit a spec and follow it to its end, or go on where an earlier run was interrupted.

    `out`/job.json is written before the submission, after it, and at the end. A run that finds it goes on
    with the job in it; one that finds "submitting" asks the service first. A spec that failed or was
    cancelled is submitted again, one that succeeded is not. `poll` is in seconds; without `wait`, one look
    is taken. Raises UserError where `out` holds another spec, and what the backend raises.
    """
    record = read_record(out)
    if record and (record["key"], record["backend"]) != (spec.key, backend.name):
        raise UserError(
            f"{out / RECORD} is of another spec ({record['order'].get('model')}, {record['backend']}): name "
            "another --out, or remove that file if nothing is to come of it"
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
        _save(out, record, state="submitting", job="", message="")
        job = backend.submit(spec, lambda step: _save(out, record, steps=[*record["steps"], step]))
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


def read_record(out: Path) -> JobRecord | None:
    """Read `out`/job.json, None where there is none; raises UserError where it is damaged."""
    try:
        text = (out / RECORD).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        record: JobRecord = json.loads(text)
        if not JobRecord.__required_keys__ <= record.keys():
            raise ValueError
    except (ValueError, AttributeError):
        raise UserError(
            f"{out / RECORD} is damaged: remove it, and the job is looked for by its order"
        ) from None
    return record


def spec_fields(spec: FineTuneSpec) -> dict[str, Any]:
    """Give a spec as plain values, the way a record holds it."""
    return {**dataclasses.asdict(spec), "dataset": str(spec.dataset)}


def sweep_folders(out: Path, rates: list[float]) -> dict[float, Path]:
    """Give each learning rate the folder of its record: `out` itself where there is but one."""
    if len(rates) == 1:
        return {rates[0]: out}
    return {rate: out / f"lr-{rate:g}" for rate in rates}


def _follow(backend: Backend, job: str, poll: float) -> Iterator[Status]:
    """Look at a job until it has ended; a service that is away for a while is waited for."""
    missed = 0
    while True:
        try:
            status = backend.status(job)
        except Unreachable:
            missed += 1
            if missed >= PATIENCE or not poll:
                raise
        else:
            missed = 0
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
    """Change the record and write it, whole or not at all."""
    record.update(changes)  # type: ignore[typeddict-item]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / RECORD, record)


def open_backend(
    name: BackendName,
    model: str,
    folder: Path,
    *,
    connection: str = "",
    base_url: str = "",
    deploy: bool = False,
    lookup: Lookup | None = None,
) -> Backend:
    """Open the backend of a job whose record stands in `folder`; nothing is called yet.

    `connection`, `base_url` and `lookup` are as in `resolve_endpoint`, for `openai`; `deploy` is for
    `azure-ml`. Raises UserError for a name that is none.
    """
    if name == "openai":
        from .openai import OpenAIBackend

        spec = connection or (None if base_url else "openai")
        resolve = partial(resolve_endpoint, spec, model=model, base_url=base_url or None, lookup=lookup)
        return OpenAIBackend(resolve, folder)
    if name == "azure-ml":
        from .azure.backend import AzureMLBackend

        return AzureMLBackend(deploy=deploy)
    if name != "local":
        raise UserError(f"there is no backend {name!r}: take local, azure-ml or openai")
    from .local.backend import LocalBackend

    return LocalBackend(folder)
