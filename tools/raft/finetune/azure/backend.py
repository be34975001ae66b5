"""Fine-tune in an Azure ML workspace: a model from the catalogue, or one of Azure OpenAI."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import hash_file
from ...models.endpoint import CONNECTIONS, environment
from ...models.lives import check_trainable
from ...models.pricing import Price, find_price, load_prices
from ..backend import ENDED, Estimate, FineTuneSpec, Result, State, Status, refuse_pairs
from ..lengths import Lengths
from ..training_files import check_uploads, count_tokens, has_rows, without_bom
from .deploy import deploy_serverless, subscribe, write_connection
from .job_spec import endpoint_name, job_fields, job_name, read_model, write_job
from .workspace import SCOPE, Workspace, open_workspace, plain_errors, redact_line

# Azure's states, https://learn.microsoft.com/rest/api/azureml/jobs/get (JobStatus); any other is "queued".
_STATES: dict[str, State] = {
    "Running": "running",
    "Finalizing": "running",
    "NotResponding": "running",
    "CancelRequested": "running",
    "Completed": "succeeded",
    "Failed": "failed",
    "Canceled": "cancelled",
}
# The names under which the trainers of the two providers log their losses.
_METRICS = {
    "loss": "train_loss",
    "training_loss": "train_loss",
    "eval_loss": "valid_loss",
    "validation_loss": "valid_loss",
    "full_validation_loss": "valid_loss",
}
# From the demonstration that this project follows: 18,000 rows, 13.7 M tokens, trained in 1.5 hours.
_TOKENS_PER_HOUR = 13.7e6 / 1.5


@dataclass
class AzureMLBackend:
    """The backend `azure-ml`; its methods are documented in `backend.Backend`.

    With `deploy`, a tuned model gets a serverless endpoint, which costs money until it is deleted.
    """

    name: str = field(default="azure-ml", init=False)
    deploy: bool = False
    env: Mapping[str, str] | None = None
    connections: Path = CONNECTIONS
    prices: Mapping[str, Price] | None = None  # of an estimate, the project's by default

    @cached_property
    def workspace(self) -> Workspace:
        """Sign in on first use: checks and estimates do not need Azure."""
        return open_workspace(self.env)

    def check(self, spec: FineTuneSpec, *, skip_long: bool = False) -> Lengths:
        """Raise UserError if the spec cannot be trained here; nothing is uploaded."""
        refuse_pairs(spec, self.name)
        model = read_model(spec.model)
        if spec.rank is not None:
            raise UserError("--rank is for the backend local: Azure ML chooses the rank of its adapters")
        if model.provider == "azure_open_ai":
            if spec.api == "completion":
                raise UserError(f"{model.name} of Azure OpenAI is tuned on chats: use --api chat")
            if spec.epochs != int(spec.epochs):
                raise UserError(f"--epochs {spec.epochs:g}: Azure OpenAI takes whole epochs only")
        hosted = model.provider == "azure_open_ai"
        return check_uploads(spec, model=model.name, hosted=hosted, skip_long=skip_long)

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Estimate the tokens, and their cost if the price list has a price for an hour of training."""
        model = read_model(spec.model)
        tokens = count_tokens(spec)
        prices = load_prices() if self.prices is None else self.prices
        price = find_price(f"ft:{model.name}", prices) or find_price(model.name, prices)
        if price is None or price.training_hour is None:
            unknown = f"no price for an hour of training {model.name}: give one with --prices"
            return Estimate(tokens, None, unknown)
        hours = tokens / _TOKENS_PER_HOUR
        basis = (
            f"about {hours:.2g} hours at ${price.training_hour:g} ({price.source}), at the speed of the "
            "demonstration, 13.7 M tokens in 1.5 hours; other models and machines differ"
        )
        if self.deploy and price.hosting_hour:
            basis += f"; its endpoint costs ${price.hosting_hour:g} an hour more until it is deleted"
        return Estimate(tokens, hours * price.training_hour, basis)

    def check_life(self, spec: FineTuneSpec) -> None:
        """Raise UserError if Azure does not train the model in a workspace (any more)."""
        model = read_model(spec.model)
        # Azure OpenAI's versions are dates, and part of the name where it is not an asset.
        dated = f"{model.name}-{model.version}" if model.provider == "azure_open_ai" else model.name
        check_trainable("azure", dated, "azure-ml", env=environment())

    def sign_in(self) -> None:
        """Open the workspace."""
        _ = self.workspace

    def find(self, spec: FineTuneSpec) -> str | None:
        """Return the latest job of this spec, whoever submitted it and whatever its state."""
        return self._latest(spec)[0]

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Register the data, once per content, and create the job, once per name.

        The name is derived from the spec and unique in Azure ML, so a request repeated by the SDK or by a
        second run gets the same job. Only a spec whose job failed or was cancelled gets a new name.
        """
        with plain_errors():
            latest, state, free_name = self._latest(spec)
            if latest and state not in ("failed", "cancelled"):
                return latest
            if message := subscribe(self.workspace, read_model(spec.model)):
                on_step(message)
            data = {
                split: self._register(spec.file(split), on_step)
                for split in ("train", "valid")
                if has_rows(spec.file(split))
            }
            from azure.ai.ml import load_job

            # The same fields as in job.yaml, which `az ml job create` reads.
            job = load_job(io.StringIO(json.dumps(job_fields(spec, free_name, data))))
            return str(self.workspace.client.jobs.create_or_update(job).name)

    def status(self, job: str) -> Status:
        """Return the status of a job: its state from the workspace, its losses from the MLflow store.

        The reason for a failure is only in the run history, which azure-ai-ml reads only while it streams
        logs; hence the use of its internal client.
        """
        with plain_errors():
            client = self.workspace.client
            status = _status_of(client.jobs.get(job))
            state = _STATES.get(status, "queued")
            message = "" if status in ("Running", "Completed", "Canceled") else status
            if state == "failed":
                message = self._failure_reason(job)
            step, metrics, problem = (None, {}, "") if state == "queued" else self._metrics(job)
        message = message or problem
        return Status(state=state, message=message, step=step, steps=None, metrics=metrics)

    def cancel(self, job: str) -> None:
        """Cancel a job, and wait until Azure has accepted the request."""
        with plain_errors():
            self.workspace.client.jobs.begin_cancel(job).result()

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Return the registered model; with `deploy`, deploy it and write its connection to `connections`."""
        write_job(spec, out / "job.yaml", name=job)
        with plain_errors():
            client = self.workspace.client
            registered = client.jobs.get(job).outputs["registered_model"].name
            version = client.models.get(registered, label="latest").version
            _, metrics, _ = self._metrics(job)
        connection = None
        model = f"{registered}:{version}"
        if self.deploy and read_model(spec.model).provider == "custom":
            endpoint = deploy_serverless(self.workspace, registered, version, endpoint_name(spec))
            connection = write_connection(endpoint, self.connections)
            model = endpoint.name
        return Result(model=model, connection=connection, files=[str(out / "job.yaml")], metrics=metrics)

    def _latest(self, spec: FineTuneSpec) -> tuple[str | None, State | None, str]:
        """Return the latest job of a spec, its state, and the first unused name."""
        from azure.core.exceptions import ResourceNotFoundError

        latest: str | None = None
        state: State | None = None
        with plain_errors():
            for attempt in range(1, 100):
                name = job_name(spec) if attempt == 1 else f"{job_name(spec)}-{attempt}"
                try:
                    status = _status_of(self.workspace.client.jobs.get(name))
                except ResourceNotFoundError:
                    return latest, state, name
                latest, state = name, _STATES.get(status, "queued")
                if state not in ENDED:
                    break
        return latest, state, f"{job_name(spec)}-100"

    def _register(self, path: Path, on_step: Callable[[str], None]) -> str:
        """Register a file as a data asset versioned by its content, unless it exists; return a reference."""
        from azure.ai.ml.entities import Data
        from azure.core.exceptions import ResourceNotFoundError

        name = "raft-" + path.stem.replace(".", "-")
        version = hash_file(path)[:16]
        data = self.workspace.client.data
        try:
            data.get(name, version=version)
        except ResourceNotFoundError:
            # The SDK prints colour codes.
            with without_bom(path) as plain, contextlib.redirect_stderr(io.StringIO()):
                data.create_or_update(Data(name=name, version=version, type="uri_file", path=str(plain)))
            on_step(f"uploaded {path.name} as {name}:{version}")
        return f"azureml:{name}:{version}"

    def _failure_reason(self, job: str) -> str:
        run = self.workspace.client.jobs._runs_operations.get_run(job)
        error = run.error.error if run.error else None
        if error and error.message:
            return redact_line(error.message)
        return "failed; see its logs in Azure ML studio"

    @cached_property
    def _store(self) -> str:
        """The URL of the workspace's MLflow store; its scheme azureml stands for https."""
        workspace = self.workspace.client.workspaces.get(self.workspace.name)
        return str(workspace.mlflow_tracking_uri).replace("azureml://", "https://")

    def _metrics(self, job: str) -> tuple[int | None, dict[str, float], str]:
        """Return the last step, the last value of each metric, and a message if they cannot be read.

        Sends GET 2.0/mlflow/runs/get (https://mlflow.org/docs/latest/rest-api.html) to the workspace's
        tracking URI, as mlflow and azureml-mlflow would; neither package is needed.
        """
        from azure.core import PipelineClient
        from azure.core.exceptions import HttpResponseError
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
        from azure.core.rest import HttpRequest

        policies = [RetryPolicy(retry_total=2), BearerTokenCredentialPolicy(self.workspace.credential, SCOPE)]
        http: Any
        with PipelineClient(self._store, policies=policies) as http:
            url = f"{self._store}/api/2.0/mlflow/runs/get"
            reply = http.send_request(HttpRequest("GET", url, params={"run_id": job}))
            if reply.status_code == 404:  # nothing logged yet
                return None, {}, ""
            try:
                reply.raise_for_status()
            except HttpResponseError as error:  # the job can still be followed
                return None, {}, f"the metrics cannot be read: {redact_line(error)}"
            values = reply.json().get("run", {}).get("data", {}).get("metrics", [])
        metrics = {_METRICS.get(value["key"], value["key"]): float(value["value"]) for value in values}
        step = max((int(value.get("step") or 0) for value in values), default=None)
        return step, metrics, ""


def _status_of(job: Any) -> str:
    return str(getattr(job.status, "value", job.status))  # an enum, or a string the SDK does not know
