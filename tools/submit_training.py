"""Node: a fine-tuning spec and a confirmation → the record of the job."""

from pathlib import Path
from typing import Union

from promptflow.connections import AzureOpenAIConnection, OpenAIConnection
from promptflow.core import tool

from tools.connections import promptflow_endpoint
from tools.raft.choices import ON_THIS_MACHINE
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import open_backend, run_job


@tool
def submit_training(
    spec: dict,
    estimate: dict,
    backend: str,
    connection: Union[AzureOpenAIConnection, OpenAIConnection],
    submit: bool,
    out: str,
    wait: bool = False,
) -> dict:
    """Submit the job, or poll the one submitted before; if `submit` is false, send nothing.

    The connection is used by the backend `openai` only. A training on this machine is waited for, since it
    ends with the process that started it.
    """
    if not submit:
        return {"state": "not submitted", "estimate": estimate}
    if not Path(out).is_absolute():  # promptflow runs a temporary copy of the flow's folder
        raise UserError("out: must be an absolute path, where the record of the job is kept")
    parsed = FineTuneSpec(**{**spec, "dataset": Path(spec["dataset"])})
    folder = Path(out)
    endpoint = promptflow_endpoint(connection, parsed.model)
    service = open_backend(
        backend, parsed.model, folder, connection=endpoint, training_type=parsed.training_type
    )
    if backend in ON_THIS_MACHINE:
        return {**run_job(service, parsed, folder, poll=1.0)}
    return {**run_job(service, parsed, folder, wait=wait)}
