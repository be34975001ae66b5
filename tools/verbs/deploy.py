"""The part of `finetune` that deploys tuned models in Microsoft Foundry, and deletes their deployments."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.raft.errors import UserError
from tools.verbs.progress import Work, showing

if TYPE_CHECKING:
    from tools.raft.finetune.backend import Backend, FineTuneSpec
    from tools.raft.finetune.job import JobRecord


def deploy_models(
    jobs: Mapping[Path, tuple[Backend, FineTuneSpec]],
    records: Mapping[Path, JobRecord],
    console: Any,
    *,
    capacity: int | None,
    poll: float,
) -> None:
    """Deploy the model of each job that succeeded, unless it is deployed; print how to call it."""
    from tools.raft.finetune.foundry.deployment import POLL, RECORD, deploy_tuned

    for folder, record in records.items():
        if record["state"] != "succeeded":
            continue
        service: Any
        service, spec = jobs[folder]
        with showing(Work("deploying")) as work:
            deployment = deploy_tuned(
                service,
                spec,
                record["result"]["model"],
                folder,
                capacity=capacity,
                poll=min(poll, POLL),
                on_step=partial(setattr, work, "description"),
            )
        ends = (
            f"Azure deletes it on {deployment['ends_at']}"
            if deployment["ends_at"]
            else "it costs by the hour until --undeploy"
        )
        name, tier = deployment["name"], deployment["deployment_type"]
        console.print(f"Deployment: {name} ({tier}), {ends}; record: {folder / RECORD}", markup=False)
        key = ", its key in RAFT_API_KEY" if "://" in deployment["call"] and service.endpoint.key else ""
        console.print(f"To compare it: --raft {deployment['call']}{key}", markup=False)


def undeploy_models(jobs: Mapping[Path, tuple[Backend, FineTuneSpec]], console: Any, *, poll: float) -> None:
    """Delete the deployment that is recorded in the folder of each job."""
    from tools.raft.finetune.foundry.deployment import POLL, RECORD, delete_deployment, read_deployment

    service: Any
    for folder, (service, _) in jobs.items():
        record = read_deployment(folder)
        if record is None:
            raise UserError(f"{folder} has no {RECORD}: nothing was deployed from there")
        with showing(Work(f"deleting deployment {record['name']}")):
            existed = delete_deployment(service, record["name"], folder, poll=min(poll, POLL))
        done = "deleted" if existed else "was gone already"
        console.print(f"Deployment {record['name']}: {done}; model {record['model']} stays", markup=False)
