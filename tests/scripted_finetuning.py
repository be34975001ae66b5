"""A scripted service for files and fine-tuning jobs, over HTTP on loopback, with faults on demand.

It follows OpenAI's reference (https://platform.openai.com/docs/api-reference/fine-tuning): each request for a
job is checked against the SDK's JobCreateParams, and each reply is built by the SDK's models. A job advances
one state per poll.

With `azure` it is a resource of Azure OpenAI or Foundry, by its dated API or by v1. Requests to v1 are checked against
the published specification as well (tests/schemas), errors have its codes, and its replies lack and add what those
recorded in github.com/microsoft-foundry/fine-tuning (Demos/DistillingSarcasm, 2025-12) lack and add.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import parse_qs, urlsplit

from annotated_types import Len
from openai.types import FileObject
from openai.types.chat import (
    ChatCompletion,
    ChatCompletionAssistantMessageParam,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent, job_create_params as documented
from openai.types.fine_tuning.dpo_hyperparameters_param import DpoHyperparametersParam
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint
from openai.types.fine_tuning.supervised_hyperparameters_param import SupervisedHyperparametersParam
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import Required, TypedDict

from tests.schemas import deviation, values
from tests.scripted_service import Reply, error, page, read_upload, serving

KEY = "sk-scripted-0123456789"
_HYPERPARAMETERS = {"supervised": SupervisedHyperparametersParam, "dpo": DpoHyperparametersParam}


class _PreferenceInput(TypedDict, total=False):
    messages: Required[list[ChatCompletionMessageParam]]
    tools: list[ChatCompletionToolParam]
    parallel_tool_calls: bool


class _Preference(TypedDict):
    """FineTunePreferenceRequestInput of OpenAI's specification, of the SDK's own types."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]
    input: _PreferenceInput
    preferred_output: Annotated[list[ChatCompletionAssistantMessageParam], Len(1, 1)]
    non_preferred_output: Annotated[list[ChatCompletionAssistantMessageParam], Len(1, 1)]


PREFERENCE = TypeAdapter(_Preference)
STATES = ("validating_files", "running", "running", "running", "succeeded")


@dataclass
class FineTuning:
    """The service: its state, the requests it received, and the faults it is set to produce."""

    url: str = ""
    # "dated" accepts hyperparameters instead of method, and stores no metadata
    azure: Literal["", "dated", "v1"] = ""
    key: str = KEY
    tiers: tuple[str, ...] = ("Standard", "GlobalStandard", "developerTier")  # in which it trains
    keeps_metadata: bool = True
    pending: int = 0  # how often a file is looked at before it is processed; -1: it never can be used
    states: tuple[str, ...] = STATES  # that a job goes through
    error: str = "the training file was refused"  # of a failed job
    # "quota", "expired", "retired", "lost", "mute", "dropped"
    faults: Counter[str] = field(default_factory=Counter)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    requests: Counter[str] = field(default_factory=Counter)
    uploads: dict[str, bytes] = field(default_factory=dict)
    deployed: Callable[[], Collection[str]] = tuple  # the names that can be called
    chats: Counter[str] = field(default_factory=Counter)  # calls of each

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Reply | None:
        """Answer a request; None closes the connection without a reply."""
        path = re.sub(r"^/(v1|openai/v1|openai)", "", urlsplit(target).path)
        query = parse_qs(urlsplit(target).query)
        self.requests[f"{method} {re.sub(r'(ftjob|file)-[0-9]+', '*', path)}"] += 1
        key = headers.get("api-key") or (headers.get("Authorization") or "").removeprefix("Bearer ")
        if key != self.key or self._take("expired"):
            if self.azure:
                return self._refuse(401, "unauthorized", f"Access denied: {key} is not valid or has expired.")
            return error(401, "invalid_api_key", f"Incorrect API key provided: {key}. It has expired.")
        if self._take("lost"):
            return None
        if path == "/chat/completions":
            return self._chat(json.loads(body))
        if match := re.fullmatch(r"/deployments/([\w.-]+)/chat/completions", path):
            return self._chat({**json.loads(body), "model": match[1]})
        if path == "/files":
            return self._upload(headers, body) if method == "POST" else (200, page(list(self.files.values())))
        if match := re.fullmatch(r"/files/([\w-]+)", path):
            if self.pending > 0:
                self.pending -= 1
                return 200, {**self.files[match[1]], "status": "pending"}
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
            if self.azure:
                return self._refuse(429, "quotaExceeded", "Quota of running fine-tuning jobs exceeded.")
            return error(
                429, "insufficient_quota", "You exceeded your current quota, please check your plan."
            )
        if problem := self._schema_problem(body):
            return error(400, "invalid_request_error", problem)
        # https://github.com/BerriAI/litellm/pull/24687: the same reply for a model that is gone, and for a tier
        # that is not offered.
        if self.azure and (self._take("retired") or body.get("trainingType", "Standard") not in self.tiers):
            return self._refuse(
                400, "invalidPayload", "The specified base model does not support fine-tuning."
            )
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
        if self.azure == "v1":
            if problem := deviation("azure-openai-v1.json", "CreateFineTuningJobRequest", body, sent=True):
                return problem
            body = {name: value for name, value in body.items() if name != "trainingType"}
        if unknown := body.keys() - get_type_hints(documented.JobCreateParams).keys():
            return f"unknown parameter {sorted(unknown)[0]}"
        if self.azure == "dated" and (unknown := {"method", "metadata"} & body.keys()):
            return f"unknown parameter {sorted(unknown)[0]}"
        for name in ("training_file", "validation_file"):
            if body.get(name, next(iter(self.files), "")) not in self.files:
                return f"{name} {body.get(name)} does not exist"
        method = body.get("method", {})
        kind = method.get("type", "supervised")
        if method and (method.keys() != {"type", kind} or kind not in _HYPERPARAMETERS):
            return "method must be supervised or dpo"
        settings = _settings(body)
        if unknown := settings.keys() - get_type_hints(_HYPERPARAMETERS[kind]).keys():
            return f"unknown hyperparameter {sorted(unknown)[0]}"
        if problem := self._file_problem(body["training_file"], kind):
            return problem
        types = {"n_epochs": int, "batch_size": int, "learning_rate_multiplier": float, "beta": float}
        if wrong := [
            n for n, value in settings.items() if value != "auto" and not isinstance(value, types[n])
        ]:
            return f"hyperparameter {wrong[0]} is of the wrong type"
        if any(len(k) > 64 or len(v) > 512 for k, v in body.get("metadata", {}).items()):
            return "metadata is too long"
        return "" if body.get("model") and len(body.get("suffix", "")) <= 18 else "model or suffix"

    def _file_problem(self, file: str, kind: str) -> str:
        """Return how the first line of a training file is not what the method takes, or ""."""
        row = json.loads(self.uploads[file].split(b"\n")[0].decode("utf-8-sig"))
        if kind == "supervised":
            return "" if "messages" in row or "prompt" in row else "the file has no chats"
        try:
            PREFERENCE.validate_python(row)
        except ValidationError as error:
            return f"the file has no preferences: {error.errors()[0]['loc']}"
        return ""

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
        if self.azure and self.pending:
            return 200, {**self.files[file.id], "status": "error" if self.pending < 0 else "pending"}
        return 200, self.files[file.id]

    def _chat(self, body: dict[str, Any]) -> Reply:
        """Answer as a deployed model; at Azure, a tuned model has no other name than its deployment's."""
        if body["model"] not in self.deployed():
            return error(404, "DeploymentNotFound", "The API deployment for this resource does not exist.")
        self.chats[body["model"]] += 1
        message = {"role": "assistant", "content": f"It is so.\n<ANSWER>: {body['model']}"}
        reply = ChatCompletion(
            id="chat-1", created=0, model=body["model"], object="chat.completion",
            choices=[{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],  # type: ignore[list-item]
            usage={"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14},  # type: ignore[arg-type]
        )  # fmt: skip
        return 200, reply.to_dict()

    def _refuse(self, status: int, code: str, message: str) -> Reply:
        """Return an error as Azure writes it."""
        assert code in values("azure-openai-v1.json", "AzureErrorCode")
        return status, {"error": {"code": code, "message": message}}

    def _job_object(self, job: dict[str, Any]) -> dict[str, Any]:
        body, state = job["body"], job["states"][0]
        supervised = body.get("method", {}).get("type") != "dpo"
        error = {"code": "invalid_file", "message": self.error, "param": None} if state == "failed" else None
        name = f"ft:{body['model']}:acme:{body.get('suffix')}:9aB{job['id'][-1]}"
        if self.azure:
            name = f"{body['model']}.ft-{job['id'].replace('-', '')}-{body.get('suffix')}"
        reply = FineTuningJob(
            id=job["id"], created_at=0, model=body["model"], object="fine_tuning.job", organization_id="acme",
            result_files=[], status=state, training_file=body["training_file"], seed=body.get("seed", 1),
            validation_file=body.get("validation_file"), error=error,
            hyperparameters={"n_epochs": "auto", "batch_size": 1, **_settings(body)} if supervised else {},
            method=body.get("method"),
            fine_tuned_model=name if state == "succeeded" else None,
            metadata=body.get("metadata") if self.azure != "dated" and self.keeps_metadata else None,
        ).to_dict(exclude_unset=False)  # type: ignore[arg-type]  # fmt: skip
        return self._as_azure_does(reply, body) if self.azure == "v1" else reply

    def _as_azure_does(self, reply: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        """Return a job without what Azure's replies lack, and with what they add."""
        lacking = {"organization_id", "result_files"} | {name for name in reply if reply[name] is None}
        kept = {name: value for name, value in reply.items() if name not in lacking}
        tier = body.get("trainingType", "Standard")
        kind = body.get("method", {}).get("type", "supervised")
        hyperparameters = {
            "batch_size": -1,
            "learning_rate_multiplier": 1.0,
            "n_epochs": -1,
            **_settings(body),
        }
        return {
            **kept,
            "status": "pending" if reply["status"] == "validating_files" else reply["status"],
            "hyperparameters": hyperparameters,
            "method": {"type": kind, kind: {"hyperparameters": hyperparameters}},
            "suffix": body.get("suffix"),
            "trainingType": tier[0].lower() + tier[1:],
        }

    def _take(self, fault: str) -> bool:
        hit = self.faults[fault] > 0
        self.faults[fault] -= hit
        return hit


def _settings(body: dict[str, Any]) -> dict[str, Any]:
    method = body.get("method", {})
    return body.get("hyperparameters") or method.get(method.get("type"), {}).get("hyperparameters", {})


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
