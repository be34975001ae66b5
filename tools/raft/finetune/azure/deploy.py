"""Put a tuned model behind a serverless endpoint of Azure ML, and take it away again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...errors import UserError
from .workspace import Workspace, plain_errors, redact_line

if TYPE_CHECKING:
    from .job_spec import BaseModel

# Microsoft's own models need no subscription to another publisher's offer.
_OWN = ("azureml", "azure-openai", "azureml-msr")


class ServerlessEndpoint(NamedTuple):
    """A serverless endpoint: the address is not secret, its key stays with Azure."""

    name: str
    address: str


def subscribe(workspace: Workspace, model: BaseModel) -> str:
    """Subscribe the workspace to another publisher's model, unless it is; give a line on what was done.

    Some models are offered without a subscription, which shows only when one is refused: that is said, and is
    no error.
    """
    from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError

    if model.registry in _OWN:
        return ""
    with plain_errors():
        from azure.ai.ml.entities import MarketplaceSubscription

        offers = workspace.client.marketplace_subscriptions
        name = model.name.replace(".", "-").replace("_", "-")
        try:
            offers.get(name)
            return ""
        except ResourceNotFoundError:
            pass
        try:
            offers.begin_create_or_update(MarketplaceSubscription(name=name, model_id=model.family)).result()
        except ClientAuthenticationError:
            raise
        except HttpResponseError as error:
            return (
                f"no marketplace subscription for {model.name}: {redact_line(error)}; not all models need one"
            )
    return f"subscribed to {model.name} in the marketplace"


def deploy_serverless(workspace: Workspace, model: str, version: str, name: str) -> ServerlessEndpoint:
    """Deploy a registered model as a serverless endpoint, unless one of this name is there, and wait for it.

    It costs by the hour (tuned models) and by the token until `delete_serverless`.
    """
    from azure.core.exceptions import ResourceNotFoundError

    with plain_errors():
        from azure.ai.ml.entities import ServerlessEndpoint as Deployment

        client = workspace.client
        try:
            found = client.serverless_endpoints.get(name)
        except ResourceNotFoundError:
            place = client.workspaces.get(workspace.name)
            where = f"azureml://locations/{place.location}/workspaces/{place._workspace_id}"
            model_id = f"{where}/models/{model}/versions/{version}"
            found = client.serverless_endpoints.begin_create_or_update(
                Deployment(name=name, model_id=model_id)
            ).result()
    if not found.scoring_uri:
        raise UserError(
            f"endpoint {name} is {found.provisioning_state}, without an address: run it again in a while"
        )
    return ServerlessEndpoint(name, str(found.scoring_uri))


def delete_serverless(workspace: Workspace, name: str) -> bool:
    """Delete an endpoint and wait until it is gone; False where there was none."""
    from azure.core.exceptions import ResourceNotFoundError

    with plain_errors():
        try:
            workspace.client.serverless_endpoints.get(name)
        except ResourceNotFoundError:
            return False
        workspace.client.serverless_endpoints.begin_delete(name).result()
    return True


def key_variable(name: str) -> str:
    """Name the variable that holds an endpoint's key."""
    return name.upper().replace("-", "_") + "_API_KEY"


def write_connection(endpoint: ServerlessEndpoint, folder: Path) -> Path:
    """Write an endpoint's connection as the others of `connections/`: its address, and where its key goes."""
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
