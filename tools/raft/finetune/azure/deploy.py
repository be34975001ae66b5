"""Deploy a tuned model to a serverless endpoint of Azure ML, and delete the endpoint again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UserError
from .workspace import Workspace, plain_errors, redact_line

if TYPE_CHECKING:
    from .job_spec import BaseModel

# Models of these registries are Microsoft's own and need no marketplace subscription.
_MICROSOFT_REGISTRIES = ("azureml", "azure-openai", "azureml-msr")


class ServerlessEndpoint(NamedTuple):
    """A serverless endpoint; the address is not secret, and the key stays in Azure."""

    name: str
    address: str


def subscribe(workspace: Workspace, model: BaseModel) -> str:
    """Subscribe the workspace to another publisher's model unless it is already; return a message or "".

    Some models are offered without a subscription, which shows only when the request is refused; the message
    then says so, and no error is raised.
    """
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

    if model.registry in _MICROSOFT_REGISTRIES:
        return ""
    with plain_errors():
        from azure.ai.ml.entities import MarketplaceSubscription

        subscriptions = workspace.client.marketplace_subscriptions
        name = model.name.replace(".", "-").replace("_", "-")
        try:
            subscriptions.get(name)
            return ""
        except ResourceNotFoundError:
            pass
        try:
            subscription = MarketplaceSubscription(name=name, model_id=model.family)
            subscriptions.begin_create_or_update(subscription).result()
        except ClientAuthenticationError:
            raise
        except HttpResponseError as error:
            reason = redact_line(error)
            return f"no marketplace subscription for {model.name}: {reason}; not every model needs one"
    return f"subscribed to {model.name} in the marketplace"


def deploy_serverless(workspace: Workspace, model: str, version: str, name: str) -> ServerlessEndpoint:
    """Deploy a registered model as a serverless endpoint, unless it exists, and wait for it.

    It costs money by the hour (tuned models) and by the token until `delete_serverless`. Raises UserError if
    the endpoint has no address yet.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with plain_errors():
        from azure.ai.ml.entities import ServerlessEndpoint as Deployment

        client = workspace.client
        try:
            endpoint = client.serverless_endpoints.get(name)
        except ResourceNotFoundError:
            details = client.workspaces.get(workspace.name)
            workspace_uri = f"azureml://locations/{details.location}/workspaces/{details._workspace_id}"
            model_id = f"{workspace_uri}/models/{model}/versions/{version}"
            endpoint = client.serverless_endpoints.begin_create_or_update(
                Deployment(name=name, model_id=model_id)
            ).result()
    if not endpoint.scoring_uri:
        raise UserError(
            f"endpoint {name} is {endpoint.provisioning_state} and has no address yet: run again in a while"
        )
    return ServerlessEndpoint(name, str(endpoint.scoring_uri))


def delete_serverless(workspace: Workspace, name: str) -> bool:
    """Delete an endpoint and wait until it is gone; False if it did not exist."""
    from azure.core.exceptions import ResourceNotFoundError

    with plain_errors():
        try:
            workspace.client.serverless_endpoints.get(name)
        except ResourceNotFoundError:
            return False
        workspace.client.serverless_endpoints.begin_delete(name).result()
    return True


def key_variable(name: str) -> str:
    """Return the name of the environment variable that holds an endpoint's key."""
    return name.upper().replace("-", "_") + "_API_KEY"


def write_connection(endpoint: ServerlessEndpoint, folder: Path) -> Path:
    """Write the connection of an endpoint: its address, and the variable that holds its key."""
    path = folder / f"{endpoint.name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"# A tuned model behind a serverless endpoint of Azure ML. Its key, for .env:\n"
        f"#   az ml serverless-endpoint get-credentials --name {endpoint.name}\n"
        "$schema: https://azuremlschemas.azureedge.net/promptflow/latest/ServerlessConnection.schema.json\n"
        f"name: {endpoint.name}\n"
        "type: serverless\n"
        f"api_key: ${{env:{key_variable(endpoint.name)}}}\n"
        f"api_base: {endpoint.address}\n",
        encoding="utf-8",
    )
    return path
