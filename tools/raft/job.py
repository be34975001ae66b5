"""Take one fine-tuning job from its order to its model, wherever it runs, and across interruptions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypedDict

from .errors import UserError
from .lora import WEIGHTS
from .records import content_id
from .splits import DRILLS

RECORD = "job.json"
PATIENCE = 10  # looks in a row that may find the service unreachable before the waiting ends

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ENDED = ("succeeded", "failed", "cancelled")


class Unreachable(UserError):
    """The service cannot be reached now, or is not well; a job that it has goes on."""


@dataclass(frozen=True)
class Order:
    """What is to be trained: everything that decides the result."""

    dataset: Path  # the folder that generate left
    model: str  # base model, in the backend's terms
    api: Literal["chat", "completion", "dsf"] = "chat"  # which files of the dataset
    epochs: float = 3
    learning_rate: float | None = None
    batch_size: int | None = None
    rank: int | None = None  # of the LoRA adapter; local only
    seed: int = 42
    suffix: str = "raft"  # of the tuned model's name

    def file(self, part: str) -> Path:
        """Give the file of a part of the dataset, a split or the drills, in the form that is trained on."""
        return self.dataset / f"{part}.{self.api}.jsonl"

    @property
    def key(self) -> str:
        """Identify the order by its settings and the content of its files, wherever these stand."""
        settings = {**dataclasses.asdict(self), "dataset": ""}
        paths = [self.file("train"), self.file("valid")]
        paths += filter(Path.is_file, (self.file(DRILLS), Path(self.model) / WEIGHTS))  # for a training here
        files = [hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in paths]
        return content_id(json.dumps(settings, sort_keys=True), *files)


class Estimate(NamedTuple):
    """What an order will take: dollars is None where no price is known."""

    tokens: int  # trained on, all epochs
    dollars: float | None
    basis: str  # what the amount rests on


class Status(TypedDict):
    """How a job is doing."""

    state: State
    message: str  # one line, "" for none
    step: int | None
    steps: int | None
    metrics: dict[str, float]  # train_loss, valid_loss, …


class Result(TypedDict):
    """What a job left."""

    model: str  # the name to call it by
    connection: Path | None  # the YAML written for it
    files: list[str]
    metrics: dict[str, float]


class JobRecord(TypedDict):
    """What stands in job.json: no key, token or signed address ever does."""

    backend: str
    key: str
    order: dict[str, Any]
    state: str  # submitting, or a State
    job: str
    steps: list[str]  # what was uploaded or set up on the way
    message: str
    metrics: dict[str, float]
    result: dict[str, Any]


class Backend(Protocol):
    """Where jobs run."""

    @property
    def name(self) -> str:
        """Name the backend, as on the command line."""

    def check(self, order: Order) -> None:
        """Raise UserError for what cannot be trained here, before anything is uploaded."""

    def estimate(self, order: Order) -> Estimate:
        """Say what the order will take."""

    def sign_in(self) -> None:
        """Raise UserError where nobody could be called, for want of a key or a workspace."""

    def find(self, order: Order) -> str | None:
        """Give the latest job that carries the order's key, however it ended."""

    def submit(self, order: Order, on_step: Callable[[str], None]) -> str:
        """Upload what is not there yet, create the job unless one is under way, and give its id."""

    def status(self, job: str) -> Status:
        """Look at a job."""

    def cancel(self, job: str) -> None:
        """Cancel a job."""

    def result(self, order: Order, job: str, out: Path) -> Result:
        """Fetch what a job that succeeded left, into `out` where it is files."""


def run_job(
    backend: Backend,
    order: Order,
    out: Path,
    *,
    wait: bool = True,
    poll: float = 30.0,
    on_status: Callable[[Status], None] = lambda status: None,
) -> JobRecord:
    """Submit an order and follow it to its end, or go on where an earlier run was interrupted.

    `out`/job.json is written before the submission, after it, and at the end. A run that finds it goes on
    with the job in it; one that finds "submitting" asks the service first. An order that failed or was
    cancelled is submitted again, one that succeeded is not. `poll` is in seconds; without `wait`, one look
    is taken. Raises UserError where `out` holds another order, and what the backend raises.
    """
    record = read_record(out)
    if record and (record["key"], record["backend"]) != (order.key, backend.name):
        raise UserError(
            f"{out / RECORD} is of another order ({record['order'].get('model')}, {record['backend']}): name "
            "another --out, or remove that file if nothing is to come of it"
        )
    if record and record["state"] == "succeeded" and record["result"]:
        return record
    record = record or _new_record(backend, order)
    job = record["job"]
    if record["state"] in ("failed", "cancelled"):
        job = ""
    elif not job:
        job = backend.find(order) or ""
    if not job:
        _save(out, record, state="submitting", job="", message="")
        job = backend.submit(order, lambda step: _save(out, record, steps=[*record["steps"], step]))
    if job != record["job"]:
        _save(out, record, state="queued", job=job)
    for status in _follow(backend, job, poll if wait else 0):
        _save(out, record, state=status["state"], message=status["message"], metrics=status["metrics"])
        on_status(status)
        if not wait:
            break
    if record["state"] == "succeeded":
        result = backend.result(order, job, out)
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


def as_fields(order: Order) -> dict[str, Any]:
    """Give an order as plain values, the way a record holds it."""
    return {**dataclasses.asdict(order), "dataset": str(order.dataset)}


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


def _new_record(backend: Backend, order: Order) -> JobRecord:
    return JobRecord(
        backend=backend.name,
        key=order.key,
        order=as_fields(order),
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
    part = out / f".{RECORD}.part"
    part.write_text(json.dumps(record, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    os.replace(part, out / RECORD)
