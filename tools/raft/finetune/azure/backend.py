"""Fine-tune in an Azure ML workspace: a model of the catalogue, or one of Azure OpenAI."""

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
from ...models.endpoint import CONNECTIONS
from ...models.pricing import Price, find_price, load_prices
from ..backend import ENDED, Estimate, FineTuneSpec, Result, State, Status
from ..training_files import check_files, count_tokens, has_rows
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
# What the trainers behind the two providers call their losses.
_METRICS = {
    "loss": "train_loss",
    "training_loss": "train_loss",
    "eval_loss": "valid_loss",
    "validation_loss": "valid_loss",
    "full_validation_loss": "valid_loss",
}
# Of the demonstration this project follows: 18,000 rows, 13.7 M tokens, trained in 1.5 hours.
_TOKENS_AN_HOUR = 13.7e6 / 1.5


@dataclass
class AzureMLBackend:
    """The backend `azure-ml`; see `job.Backend` for what each method is for.

    With `deploy`, a model that was trained gets a serverless endpoint, which costs money until it is deleted.
    """

    name: str = field(default="azure-ml", init=False)
    deploy: bool = False
    env: Mapping[str, str] | None = None
    connections: Path = CONNECTIONS

    @cached_property
    def workspace(self) -> Workspace:
        """Sign in when first needed: checks and estimates need no Azure."""
        return open_workspace(self.env)

    def check(self, spec: FineTuneSpec) -> None:
        """Refuse what cannot be trained here, before anything is uploaded."""
        model = read_model(spec.model)
        if spec.rank is not None:
            raise UserError("--rank is for the backend local: Azure ML chooses the rank of its adapters")
        if model.provider == "azure_open_ai":
            if spec.api == "completion":
                raise UserError(f"{model.name} of Azure OpenAI is tuned on chats: --api chat")
            if spec.epochs != int(spec.epochs):
                raise UserError(f"--epochs {spec.epochs:g}: Azure OpenAI takes whole epochs only")
        check_files(spec, model=model.name, hosted=model.provider == "azure_open_ai")

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Count the tokens trained, and what they cost where the price list has an hour of training."""
        model = read_model(spec.model)
        tokens = count_tokens(spec)
        price = find_training_price(model.name)
        if price is None or price.training_hour is None:
            return Estimate(tokens, None, f"no price of training for {model.name} in data/prices.json")
        hours = tokens / _TOKENS_AN_HOUR
        basis = (
            f"about {hours:.2g} hours at ${price.training_hour:g} ({price.source}); the speed is that of the "
            "demonstration, 13.7 M tokens in 1.5 hours, and another model or machine has another"
        )
        if self.deploy and price.hosting_hour:
            basis += f"; its endpoint costs ${price.hosting_hour:g} an hour more, until it is deleted"
        return Estimate(tokens, hours * price.training_hour, basis)

    def sign_in(self) -> None:
        """Open the workspace."""
        _ = self.workspace

    def find(self, spec: FineTuneSpec) -> str | None:
        """Give the latest job of this spec, whoever submitted it and however it ended."""
        return self._latest(spec)[0]

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Register the data, once for its content, and create the job, once for its name.

        The name comes from the spec, and Azure ML has each name once: a request that is repeated, by the SDK
        or by a second run, meets the same job. Only a spec whose job ended badly goes by a further name.
        """
        with plain_errors():
            latest, state, free = self._latest(spec)
            if latest and state not in ("failed", "cancelled"):
                return latest
            if told := subscribe(self.workspace, read_model(spec.model)):
                on_step(told)
            data = {
                split: self._register(spec.file(split), on_step)
                for split in ("train", "valid")
                if has_rows(spec.file(split))
            }
            from azure.ai.ml import load_job

            # One description for both ways in: what is submitted here is what `az ml job create` reads.
            job = load_job(io.StringIO(json.dumps(job_fields(spec, free, data))))
            return str(self.workspace.client.jobs.create_or_update(job).name)

    def status(self, job: str) -> Status:
        """Look at a job: its state from the jobs of the workspace, its losses from the MLflow store.

        The reason of a failure stands in the run history alone, which azure-ai-ml reads only when it streams
        logs, so its own client for it is used.
        """
        with plain_errors():
            client = self.workspace.client
            found = _status_of(client.jobs.get(job))
            state = _STATES.get(found, "queued")
            message = "" if found in ("Running", "Completed", "Canceled") else found
            if state == "failed":
                message = self._reason(job)
            step, metrics, problem = (None, {}, "") if state == "queued" else self._metrics(job)
        message = message or problem
        return Status(state=state, message=message, step=step, steps=None, metrics=metrics)

    def cancel(self, job: str) -> None:
        """Cancel a job, and wait until Azure has taken the spec to."""
        with plain_errors():
            self.workspace.client.jobs.begin_cancel(job).result()

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Give the registered model, with `deploy` behind an endpoint, its connection among `connections`."""
        write_job(spec, out / "job.yaml", name=job)
        with plain_errors():
            client = self.workspace.client
            registered = client.jobs.get(job).outputs["registered_model"].name
            version = client.models.get(registered, label="latest").version
            _, metrics, _ = self._metrics(job)
        connection = None
        called = f"{registered}:{version}"
        if self.deploy and read_model(spec.model).provider == "custom":
            endpoint = deploy_serverless(self.workspace, registered, version, endpoint_name(spec))
            connection = write_connection(endpoint, self.connections)
            called = endpoint.name
        return Result(model=called, connection=connection, files=[str(out / "job.yaml")], metrics=metrics)

    def _latest(self, spec: FineTuneSpec) -> tuple[str | None, State | None, str]:
        """Give the latest job of a spec, its state, and the first name that is free."""
        from azure.core.exceptions import ResourceNotFoundError

        latest: str | None = None
        state: State | None = None
        with plain_errors():
            for attempt in range(1, 100):
                name = job_name(spec) if attempt == 1 else f"{job_name(spec)}-{attempt}"
                try:
                    found = _status_of(self.workspace.client.jobs.get(name))
                except ResourceNotFoundError:
                    return latest, state, name
                latest, state = name, _STATES.get(found, "queued")
                if state not in ENDED:
                    break
        return latest, state, f"{job_name(spec)}-100"

    def _register(self, path: Path, on_step: Callable[[str], None]) -> str:
        """Register a file as a data asset named after its content, unless it is there; give its reference."""
        from azure.ai.ml.entities import Data
        from azure.core.exceptions import ResourceNotFoundError

        name = "raft-" + path.stem.replace(".", "-")
        version = hash_file(path)[:16]
        data = self.workspace.client.data
        try:
            data.get(name, version=version)
        except ResourceNotFoundError:
            with contextlib.redirect_stderr(io.StringIO()):  # the SDK writes colour codes there
                data.create_or_update(Data(name=name, version=version, type="uri_file", path=str(path)))
            on_step(f"uploaded {path.name} as {name}:{version}")
        return f"azureml:{name}:{version}"

    def _reason(self, job: str) -> str:
        run = self.workspace.client.jobs._runs_operations.get_run(job)
        error = run.error.error if run.error else None
        return redact_line(error.message) if error and error.message else "failed; its logs are in the studio"

    @cached_property
    def _store(self) -> str:
        """The address of the workspace's MLflow store; its scheme azureml stands for https."""
        found = self.workspace.client.workspaces.get(self.workspace.name)
        return str(found.mlflow_tracking_uri).replace("azureml://", "https://")

    def _metrics(self, job: str) -> tuple[int | None, dict[str, float], str]:
        """Read the last value of each metric, the last step, and why they cannot be read, if so.

        https://mlflow.org/docs/latest/rest-api.html, GET 2.0/mlflow/runs/get, at the workspace's tracking
        URI: what the packages mlflow and azureml-mlflow would ask, without the two.
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
            if reply.status_code == 404:  # it has logged nothing yet
                return None, {}, ""
            try:
                reply.raise_for_status()
            except HttpResponseError as error:  # a job is followed without its losses, too
                return None, {}, f"its metrics cannot be read: {redact_line(error)}"
            values = reply.json().get("run", {}).get("data", {}).get("metrics", [])
        metrics = {_METRICS.get(value["key"], value["key"]): float(value["value"]) for value in values}
        return max((int(value.get("step") or 0) for value in values), default=None), metrics, ""


def find_training_price(model: str) -> Price | None:
    """Find a price list's entry for tuning a model: what it costs tuned, else under its own name."""
    prices = load_prices()
    return find_price(f"ft:{model}", prices) or find_price(model, prices)


def _status_of(job: Any) -> str:
    return str(getattr(job.status, "value", job.status))  # an enumeration, or a text it does not know
