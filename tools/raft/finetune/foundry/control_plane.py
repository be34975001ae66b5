"""Azure's resource manager, for one resource of Azure OpenAI or Foundry: find it, and send it requests.

REST: Azure/azure-rest-api-specs, Microsoft.CognitiveServices/stable/2025-09-01, as spoken by
azure-mgmt-cognitiveservices 14.1.0. It is called with azure-core, which azure-ai-ml brings along.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import UserError
from ...models.endpoint import Endpoint, environment
from ..azure.workspace import plain_errors

API_VERSION = "2025-09-01"
MANAGER = "https://management.azure.com"  # of the public cloud; AZURE_RESOURCE_MANAGER names another one


@dataclass(frozen=True)
class Manager:
    """The resource manager to which the user has signed in."""

    client: Any
    address: str

    def send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Send a request and return the reply, whatever its status."""
        from azure.core.rest import HttpRequest

        params = {} if "api-version=" in path else {"api-version": API_VERSION}
        return self.client.send_request(HttpRequest(method, self.address + path, params=params, json=body))

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a collection, page by page."""
        while path:
            page = _content(self.send("GET", path))
            yield from page.get("value", [])
            path = _path_of(page.get("nextLink"))


@dataclass(frozen=True)
class Resource:
    """One resource, by its path in the resource manager."""

    manager: Manager
    id: str

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what is at a path below the resource, None if there is nothing."""
        reply = self.manager.send("GET", self.id + path)
        return None if reply.status_code == 404 else _content(reply)

    def list(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield the entries of a collection below the resource."""
        yield from self.manager.pages(self.id + path)

    def put(self, path: str, body: Mapping[str, Any]) -> str:
        """Create or change what is at a path, also repeatedly; return the path of the operation, or ""."""
        reply = self.manager.send("PUT", self.id + path, body)
        reply.raise_for_status()
        return _path_of(reply.headers.get("Azure-AsyncOperation"))

    def failure_of(self, operation: str) -> str:
        """Return why an operation has failed, "" if that is not known."""
        reply = self.manager.send("GET", operation)
        error = (_content(reply).get("error") or {}) if reply.status_code == 200 else {}
        return str(error.get("message") or error.get("code") or "")

    def delete(self, path: str) -> bool:
        """Start the deletion of what is at a path; False if there is nothing."""
        reply = self.manager.send("DELETE", self.id + path)
        existed = reply.status_code not in (204, 404)
        if existed:
            reply.raise_for_status()
        return existed


def open_resource(endpoint: Endpoint, env: Mapping[str, str] | None = None) -> Resource:
    """Find the resource that an endpoint belongs to among those of the subscription.

    The credential is whatever DefaultAzureCredential finds. Raises UserError if no subscription is named, or
    the resource is not among those that the account may see, and what azure-core raises.
    """
    env = environment() if env is None else env
    subscription = env.get("AZURE_SUBSCRIPTION_ID", "").strip()
    if not subscription:
        raise UserError(
            "the subscription of the resource is not named: set AZURE_SUBSCRIPTION_ID (in the environment or "
            "in .env, see .env.example), and sign in with `az login`"
        )
    manager = _sign_in(env.get("AZURE_RESOURCE_MANAGER", "").strip().rstrip("/") or MANAGER)
    accounts = f"/subscriptions/{subscription}/providers/Microsoft.CognitiveServices/accounts"
    for account in manager.pages(accounts):
        if _has_address(account, endpoint.base_url):
            return Resource(manager, account["id"])
    raise UserError(
        f"subscription {subscription} has no resource with the address {endpoint.base_url} that this account "
        "may see: check AZURE_SUBSCRIPTION_ID, and the account of `az login`"
    )


@contextmanager
def foundry_errors() -> Iterator[None]:
    """Turn exceptions of Azure's packages into one-line UserErrors, `Unreachable` if the problem may pass."""
    role = "Foundry Owner, or one with Microsoft.CognitiveServices/accounts/deployments/write,"
    try:
        with plain_errors("Azure", role):
            yield
    except UserError as error:
        if "quota" in str(error).lower():
            raise UserError(f"{error}; --capacity N asks for less") from None
        raise


def _sign_in(address: str) -> Manager:
    try:
        from azure.core import PipelineClient
        from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy
        from azure.identity import DefaultAzureCredential
    except ImportError:
        raise UserError("azure-identity is not installed: pip install -r requirements.txt") from None
    logging.getLogger("azure.identity").setLevel(logging.CRITICAL)  # failures are raised as exceptions
    policies = [
        RetryPolicy(retry_total=3),
        BearerTokenCredentialPolicy(DefaultAzureCredential(), f"{address}/.default"),
    ]
    return Manager(PipelineClient(address, policies=policies), address)


def _path_of(address: str | None) -> str:
    """Return path and query of an address: the token goes to the resource manager, wherever that is."""
    parts = urlsplit(address or "")
    return f"{parts.path}?{parts.query}" if parts.path else ""


def _content(reply: Any) -> dict[str, Any]:
    reply.raise_for_status()
    content: dict[str, Any] = reply.json()
    return content


def _has_address(account: Mapping[str, Any], base_url: str) -> bool:
    """Return whether an account's endpoints, or its subdomain, are those of a URL."""
    properties = account.get("properties") or {}
    addresses = [properties.get("endpoint"), *(properties.get("endpoints") or {}).values()]
    host = urlsplit(base_url).netloc.lower()
    subdomain = str(properties.get("customSubDomainName") or "").lower()
    return host in {urlsplit(str(address)).netloc.lower() for address in addresses} or (
        bool(subdomain) and host.split(".")[0] == subdomain
    )
