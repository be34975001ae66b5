"""Train the tuned arms of a column through the fine-tuning backends, and find the models that come out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..choices import ON_THIS_MACHINE, BackendName, Form
from ..errors import UserError
from ..finetune.backend import GGUF, Backend, FineTuneSpec, Status
from ..finetune.job import JobRecord, check_spec, open_backend, read_record, run_job
from ..models.endpoint import Endpoint, Lookup, resolve_endpoint
from ..models.pricing import Price

Role = Literal["dsf", "raft"]
FORMS: Mapping[Role, Form] = {"dsf": "dsf", "raft": "chat"}


@dataclass(frozen=True)
class Training:
    """How the tuned arms are trained; the same for both."""

    backend: BackendName = "local"
    model: str = "embedded"
    connection: str = ""  # openai only
    epochs: float = 2
    learning_rate: float | None = None
    batch_size: int | None = None
    rank: int | None = None
    seed: int = 42
    poll: float | None = None  # seconds between looks at a job; by default 30, 1 on this machine
    lookup: Lookup | None = None

    @property
    def paid(self) -> bool:
        """Whether a service is paid for it."""
        return self.backend not in ON_THIS_MACHINE


@dataclass(frozen=True)
class Job:
    """One training: an arm of a fold of a column."""

    name: str
    folder: Path
    backend: Backend
    spec: FineTuneSpec

    @property
    def done(self) -> bool:
        """Whether an earlier run submitted it, whatever has become of it."""
        record = read_record(self.folder)
        return record is not None and record["state"] not in ("failed", "cancelled")


def plan_job(
    column: str, fold: int, role: Role, dataset: Path, training: Training, prices: Mapping[str, Price]
) -> Job:
    """Plan the training of an arm, whose record is in a folder beside the rows; nothing is called yet."""
    folder = dataset / role
    spec = FineTuneSpec(
        dataset,
        training.model,
        api=FORMS[role],
        epochs=training.epochs,
        learning_rate=training.learning_rate,
        batch_size=training.batch_size,
        rank=training.rank,
        seed=training.seed,
        suffix=f"{column}-{role}-{fold}",
    )
    backend = open_backend(
        training.backend,
        training.model,
        folder,
        connection=training.connection,
        prices=prices,
        lookup=training.lookup,
    )
    return Job(f"{column} {role}" + (f", fold {fold}" if fold > 1 else ""), folder, backend, spec)


def estimate_cost(jobs: list[Job]) -> float | None:
    """Estimate in dollars what the jobs will cost; None if a price is unknown."""
    estimates = [job.backend.estimate(job.spec).dollars for job in jobs]
    known = [dollars for dollars in estimates if dollars is not None]
    return sum(known) if len(known) == len(estimates) else None


def submit(job: Job) -> None:
    """Submit a job unless an earlier run did, without waiting for its end.

    Raises UserError if it cannot be trained.
    """
    if not job.done:
        check_spec(job.backend, job.spec, job.folder)
        run_job(job.backend, job.spec, job.folder, wait=False)


def train(job: Job, training: Training, on_status: Callable[[Status], None]) -> tuple[Endpoint, JobRecord]:
    """Run a job to its end, or follow one of an earlier run; return its model and its record.

    Raises UserError if it failed, or if its model has to be served or deployed before it can be asked.
    """
    if not job.done:  # the rows were checked before it was submitted
        check_spec(job.backend, job.spec, job.folder)
    poll = training.poll or (1.0 if training.backend in ON_THIS_MACHINE else 30.0)
    record = run_job(job.backend, job.spec, job.folder, poll=poll, on_status=on_status)
    if record["state"] != "succeeded":
        raise UserError(f"the training of {job.name} {record['state']}: {record['message']}")
    return _find_model(job, record, training), record


def _find_model(job: Job, record: JobRecord, training: Training) -> Endpoint:
    model = str(record["result"]["model"])
    if training.backend == "local" and (adapter := job.folder / GGUF).is_file():
        return resolve_endpoint(str(adapter))
    if training.backend == "openai":
        base = resolve_endpoint(training.connection or "openai", model=model, lookup=training.lookup)
        if base.kind != "azure_openai":
            return base
    raise UserError(
        f"{job.name} is trained ({model}, {job.folder}): serve or deploy it, and name it with "
        f"--tuned {job.name.partition(',')[0].replace(' ', '.')}=CONNECTION:MODEL"
    )
