"""A scripted service for files and fine-tuning jobs, over HTTP on loopback, with faults on demand.

It follows OpenAI's reference (https://platform.openai.com/docs/api-reference/fine-tuning): each request for a
job is checked against the SDK's JobCreateParams, and each reply is built by the SDK's models. A job advances
one state per poll.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, get_type_hints
from urllib.parse import parse_qs, urlsplit

from openai.types import FileObject
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent, job_create_params as documented
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.fine_tuning.supervised_hyperparameters_param import SupervisedHyperparametersParam

from tests.scripted_service import Reply, error, page, read_upload, serving

KEY = "sk-scripted-0123456789"
STATES = ("validating_files", "running", "running", "running", "succeeded")


@dataclass
class FineTuning:
    """The service: its state, the requests it received, and the faults it is set to produce."""

    url: str = ""
    azure: bool = False  # accepts hyperparameters instead of method, and stores no metadata
    states: tuple[str, ...] = STATES  # that a job goes through
    error: str = "the training file was refused"  # of a failed job
    faults: Counter[str] = field(default_factory=Counter)  # "quota", "expired", "lost", "mute", "dropped"
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, bytes] = field(default_factory=dict)

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Reply | None:
        """Answer a request; None closes the connection without a reply."""
        path = re.sub(r"^/(v1|openai/v1|openai)", "", urlsplit(target).path)
        query = parse_qs(urlsplit(target).query)
        self.requests[f"{method} {re.sub(r'(ftjob|file)-[0-9]+', '*', path)}"] += 1
        key = headers.get("api-key") or (headers.get("Authorization") or "").removeprefix("Bearer ")
        if key != KEY or self._take("expired"):
            return error(401, "invalid_api_key", f"Incorrect API key provided: {key}. It has expired.")
        if self._take("lost"):
            return None
        if path == "/files":
            return self._upload(headers, body) if method == "POST" else (200, page(list(self.files.values())))
        if match := re.fullmatch(r"/files/([\w-]+)", path):
            return 200, self.files[match[1]]
        if path == "/fine_tuning/jobs":
            if method == "POST":
                return self._create(json.loads(body))
            jobs = [self._job_object(job) for job in reversed(self.jobs.values())]
            return 200, page(jobs, query)
        match = re.fullmatch(r"/fine_tuning/jobs/([\w-]+)(?:/(\w+))?", path)
        if not match or match[1] not in self.jobs:
            return error(404, "not_found", f"no such thing as {path}")
        job = self.jobs[match[1]]
        if match[2] == "cancel":
            job["states"] = ["cancelled"]
        elif match[2] == "events":
            return 200, page(list(reversed(_events(job))), query)
        elif match[2] == "checkpoints":
            return 200, page(_checkpoints(job) if job["states"][0] == "succeeded" else [])
        else:
            job["polls"] += 1
            if len(job["states"]) > 1:
                job["states"].pop(0)
        return 200, self._job_object(job)

    def _create(self, body: dict[str, Any]) -> Reply | None:
        if self._take("quota"):
            return error(
                429, "insufficient_quota", "You exceeded your current quota, please check your plan."
            )
        if problem := self._schema_problem(body):
            return error(400, "invalid_request_error", problem)
        self.bodies.append(body)
        job = {"id": f"ftjob-{len(self.jobs) + 1}", "body": body, "states": list(self.states), "polls": 0}
        self.jobs[str(job["id"])] = job
        if self._take("dropped"):
            return None
        if self._take("mute"):
            time.sleep(60)
            return None
        return 200, self._job_object(job)

    def _schema_problem(self, body: dict[str, Any]) -> str:
        """Return how a request deviates from the reference, or ""."""
        if unknown := body.keys() - get_type_hints(documented.JobCreateParams).keys():
            return f"unknown parameter {sorted(unknown)[0]}"
        if self.azure and (unknown := {"method", "metadata"} & body.keys()):
            return f"unknown parameter {sorted(unknown)[0]}"
        for name in ("training_file", "validation_file"):
            if body.get(name, next(iter(self.files), "")) not in self.files:
                return f"{name} {body.get(name)} does not exist"
        method = body.get("method", {})
        if method and (method.keys() != {"type", "supervised"} or method["type"] != "supervised"):
            return "method must be supervised"
        settings = _settings(body)
        if unknown := settings.keys() - get_type_hints(SupervisedHyperparametersParam).keys():
            return f"unknown hyperparameter {sorted(unknown)[0]}"
        types = {"n_epochs": int, "batch_size": int, "learning_rate_multiplier": float}
        if wrong := [
            n for n, value in settings.items() if value != "auto" and not isinstance(value, types[n])
        ]:
            return f"hyperparameter {wrong[0]} is of the wrong type"
        if any(len(k) > 64 or len(v) > 512 for k, v in body.get("metadata", {}).items()):
            return "metadata is too long"
        return "" if body.get("model") and len(body.get("suffix", "")) <= 18 else "model or suffix"

    def _upload(self, headers: Any, body: bytes) -> Reply:
        purpose, name, content = read_upload(headers, body)
        if purpose != "fine-tune":
            return error(400, "invalid_request_error", "purpose")
        file = FileObject(
            id=f"file-{len(self.files) + 1}", bytes=len(content), created_at=0, object="file", status="processed",
            filename=name, purpose="fine-tune",
        )  # fmt: skip
        self.files[file.id] = file.to_dict()
        self.uploads[file.id] = content
        return 200, self.files[file.id]

    def _job_object(self, job: dict[str, Any]) -> dict[str, Any]:
        body, state = job["body"], job["states"][0]
        error = {"code": "invalid_file", "message": self.error, "param": None} if state == "failed" else None
        name = f"ft:{body['model']}:acme:{body.get('suffix')}:9aB{job['id'][-1]}"
        return FineTuningJob(
            id=job["id"], created_at=0, model=body["model"], object="fine_tuning.job", organization_id="acme",
            result_files=[], status=state, training_file=body["training_file"], seed=body.get("seed", 1),
            validation_file=body.get("validation_file"), error=error,
            hyperparameters={"n_epochs": "auto", "batch_size": 1, **_settings(body)},
            fine_tuned_model=name if state == "succeeded" else None,
            metadata=None if self.azure else body.get("metadata"),
        ).to_dict(exclude_unset=False)  # type: ignore[arg-type]  # fmt: skip

    def _take(self, fault: str) -> bool:
        hit = self.faults[fault] > 0
        self.faults[fault] -= hit
        return hit


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    return body.get("hyperparameters") or body.get("method", {}).get("supervised", {}).get(
        "hyperparameters", {}
    )


def _events(job: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events so far, oldest first: one with losses per poll of the job."""
    events = [FineTuningJobEvent(id=f"{job['id']}-0", created_at=0, level="info", message="Created the job",
                                 object="fine_tuning.job.event", type="message")]  # fmt: skip
    for step in range(1, min(job["polls"], 4) + 1):
        data = {"step": step, "total_steps": 4, "train_loss": 2 / step, "valid_loss": 2.5 / step}
        events.append(FineTuningJobEvent(id=f"{job['id']}-{step}", created_at=step, level="info", data=data, type="metrics",
                                         message=f"Step {step}/4", object="fine_tuning.job.event"))  # fmt: skip
    return [event.to_dict() for event in events]


def _checkpoints(job: dict[str, Any]) -> list[dict[str, Any]]:
    checkpoint = FineTuningJobCheckpoint(
        id="ftckpt-1", created_at=0, fine_tuned_model_checkpoint="ft:c", fine_tuning_job_id=job["id"], step_number=4,
        metrics={"step": 4, "train_loss": 0.5, "full_valid_loss": 0.6}, object="fine_tuning.job.checkpoint",  # type: ignore[arg-type]
    )  # fmt: skip
    return [checkpoint.to_dict()]


@contextmanager
def scripted_finetuning(**settings: Any) -> Iterator[FineTuning]:
    """Run the service on a free loopback port until the end of the block."""
    service = FineTuning(**settings)
    with serving(service.answer) as service.url:
        yield service
