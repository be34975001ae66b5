"""Deploy a tuned model in Azure OpenAI or Foundry, and delete the deployment again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from ...choices import DeploymentType
from ...errors import UserError
from ...files import write_json
from ...models.endpoint import without_version
from ..azure.job_spec import endpoint_name
from ..azure.workspace import redact_line
from ..backend import FineTuneSpec
from .control_plane import Resource, foundry_errors, open_resource
from .tiers import DEPLOYMENT_NAMES, DEVELOPER_HOURS

if TYPE_CHECKING:
    from ..openai import OpenAIBackend

RECORD = "deployment.json"
# Thousands of tokens a minute, as in Microsoft's samples; at 1, an evaluation waits for most of its calls.
CAPACITY = 100
POLL = 5.0  # seconds between looks at a deployment
# Provisioning states; the others change by themselves.
_ENDED = ("Succeeded", "Failed", "Canceled", "Disabled")


class Deployment(TypedDict):
    """The content of deployment.json."""

    name: str
    model: str
    deployment_type: DeploymentType
    capacity: int | None  # thousands of tokens a minute
    state: str  # a provisioning state, or "deleted"
    resource: str
    created_at: str | None
    ends_at: str | None  # when Azure deletes it by itself
    call: str  # what the verbs take for a connection
    connection: str


def deploy_tuned(
    backend: OpenAIBackend,
    spec: FineTuneSpec,
    model: str,
    out: Path,
    *,
    capacity: int | None = None,
    poll: float = POLL,
    env: Mapping[str, str] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> Deployment:
    """Deploy the tuned model of a job in the backend's tier, unless it is, and wait until it can be called.

    The name is derived from the spec, so that a second run, or one after a kill, finds the deployment. It is
    recorded in `out`/deployment.json. It costs money until `delete_deployment`, or for 24 hours in the tier
    developer. Raises UserError if Azure does not deploy it.
    """
    tier: DeploymentType = backend.deployment or "global"
    name = endpoint_name(spec)
    with foundry_errors():
        resource = open_resource(backend.endpoint, env)
        found, operation = resource.get(f"/deployments/{name}"), ""
        model_format = _format_of(resource, model)
        if found is None or not _is_that(found, model, tier, capacity):
            on_step(f"deploying {model} as {name} ({tier})")
            body = _body(model, model_format, tier, capacity or CAPACITY)
            operation = resource.put(f"/deployments/{name}", body)
        found = _wait(resource, name, poll, on_step)
        reason = resource.failure_of(operation) if operation and _state(found) != "Succeeded" else ""
    out.mkdir(parents=True, exist_ok=True)
    created = (found.get("systemData") or {}).get("createdAt")
    endpoint = backend.endpoint
    # The v1 API calls models of every publisher; the connection of this name may speak the dated one.
    named = endpoint.name and model_format == "OpenAI"
    deployment = Deployment(
        name=name,
        model=model,
        deployment_type=tier,
        capacity=(found.get("sku") or {}).get("capacity"),
        state=_state(found),
        resource=resource.id,
        created_at=created,
        ends_at=_end(created) if tier == "developer" else None,
        call=f"{endpoint.name if named else without_version(endpoint).base_url}:{name}",
        connection=str(backend.connection(name, out)),
    )
    write_json(out / RECORD, deployment)
    if deployment["state"] != "Succeeded":
        why = redact_line(reason) or f"the activity log of {resource.id} has the reason"
        raise UserError(
            f"deployment {name} is {deployment['state']}: {why}; run the same command to try again"
        )
    return deployment


def delete_deployment(
    backend: OpenAIBackend,
    name: str,
    out: Path,
    *,
    poll: float = POLL,
    env: Mapping[str, str] | None = None,
) -> bool:
    """Delete a deployment and wait until it is gone; False if there was none. The tuned model stays."""
    with foundry_errors():
        resource = open_resource(backend.endpoint, env)
        existed = resource.delete(f"/deployments/{name}")
        while existed and resource.get(f"/deployments/{name}"):
            time.sleep(poll)
    if (record := read_deployment(out)) and record["name"] == name:
        write_json(out / RECORD, {**record, "state": "deleted"})
    return existed


def read_deployment(out: Path) -> Deployment | None:
    """Read `out`/deployment.json; None if it does not exist. Raises UserError if it is damaged."""
    try:
        record: Deployment = json.loads((out / RECORD).read_text(encoding="utf-8"))
        if not Deployment.__required_keys__ <= record.keys():
            raise ValueError
    except FileNotFoundError:
        return None
    except (ValueError, AttributeError):
        raise UserError(f"{out / RECORD} is damaged: remove it, and run again with --deploy") from None
    return record


def _body(model: str, model_format: str, tier: DeploymentType, capacity: int) -> dict[str, Any]:
    """Return the body of the request that creates a deployment; tuned models have the version 1."""
    return {
        "sku": {"name": DEPLOYMENT_NAMES[tier], "capacity": capacity},
        "properties": {"model": {"format": model_format, "name": model, "version": "1"}},
    }


def _format_of(resource: Resource, model: str) -> str:
    """Return the format of a tuned model, which is its publisher's name, from the models of the resource."""
    base = model.partition(".ft-")[0].casefold()
    of_base = "OpenAI"
    for entry in resource.list("/models"):
        name = str(entry.get("name")).casefold()
        if name == model.casefold():
            return str(entry["format"])
        if base in (name, f"{name}-{entry.get('version')}"):
            of_base = str(entry["format"])
    return of_base


def _is_that(found: Mapping[str, Any], model: str, tier: DeploymentType, capacity: int | None) -> bool:
    """Return whether a deployment is, or becomes, the one asked for."""
    sku = found.get("sku") or {}
    return (
        _state(found) not in ("Failed", "Canceled")
        and ((found.get("properties") or {}).get("model") or {}).get("name") == model
        and str(sku.get("name")).casefold() == DEPLOYMENT_NAMES[tier].casefold()
        and capacity in (None, sku.get("capacity"))
    )


def _wait(resource: Resource, name: str, poll: float, on_step: Callable[[str], None]) -> dict[str, Any]:
    """Poll a deployment until its state is final; return it."""
    last = ""
    while True:
        found = resource.get(f"/deployments/{name}")
        if found is None:
            raise UserError(f"deployment {name} was deleted meanwhile: run the same command again")
        if _state(found) in _ENDED:
            return found
        if _state(found) != last:
            last = _state(found)
            on_step(f"deployment {name}: {last}")
        time.sleep(poll)


def _state(found: Mapping[str, Any]) -> str:
    return str((found.get("properties") or {}).get("provisioningState"))


def _end(created: str | None) -> str:
    """Return when Azure deletes a deployment of the tier developer."""
    # Azure writes seven decimals of a second, which Python 3.10 does not read.
    begin = datetime.fromisoformat(created[:19]) if created else datetime.now(timezone.utc)
    begin = begin.replace(tzinfo=timezone.utc)
    return (begin + timedelta(hours=DEVELOPER_HOURS)).isoformat(timespec="minutes")
