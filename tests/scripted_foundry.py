"""A scripted resource of Microsoft Foundry: its deployments in the resource manager, and its data plane.

The resource manager answers over HTTPS as in scripted_azureml, whose server, certificate and managed identity it
uses; the data plane is scripted_finetuning. Requests and replies are checked against the models of
azure-mgmt-cognitiveservices (tests/schemas). A deployment advances one state per poll.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.schemas import deviation
from tests.scripted_azureml import SUBSCRIPTION, TOKEN, Azure, Reply, environment as sign_in, scripted_azureml
from tests.scripted_finetuning import FineTuning, scripted_finetuning

SCHEMA = "cognitiveservices-2025-09-01.json"
ACCOUNTS = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.CognitiveServices/accounts"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/raft-rg/providers/Microsoft.CognitiveServices/accounts"
ACCOUNT = f"{GROUP}/raft-foundry"
STATES = ("Creating", "Creating", "Succeeded")


class Foundry(Azure):
    """The state of the resource, and the faults it is set to produce."""

    def __init__(self, data: FineTuning) -> None:
        super().__init__()
        self.data_plane = data
        self.deployments: dict[str, dict[str, Any]] = {}
        self.deployment_states: tuple[str, ...] = STATES  # that a new deployment goes through
        self.skus = {"Standard", "DataZoneStandard", "GlobalStandard", "DeveloperTier"}
        self.quota = 1000  # thousands of tokens a minute
        self.puts: list[dict[str, Any]] = []
        data.deployed = self.callable_names

    def callable_names(self) -> set[str]:
        """Return the names of the deployments that answer."""
        return {name for name, each in self.deployments.items() if each["states"][0] == "Succeeded"}

    def answer(
        self, method: str, path: str, query: Mapping[str, list[str]], body: bytes, headers: Any
    ) -> Reply:
        """Answer one request."""
        if path == "/identity":
            return super().answer(method, path, query, body, headers)
        for (verb, part), refusal in self.refuse.items():
            if verb == method and part in path:
                return refusal
        if self.expired or headers.get("Authorization") != f"Bearer {TOKEN}":
            return _error(401, "ExpiredAuthenticationToken", f"The access token has expired: Bearer {TOKEN}.")
        if query.get("api-version") != ["2025-09-01"]:
            return _error(400, "InvalidApiVersionParameter", f"The api-version {query} is not supported.")
        if path == ACCOUNTS:
            return self._accounts(query)
        if path == f"{ACCOUNT}/models":
            return _page([_checked("AccountModel", model) for model in self._account_models()])
        if path.startswith(f"{ACCOUNT}/operations/"):
            failed = {
                "status": "Failed",
                "error": {"code": "ContentSafety", "message": "The model is not safe."},
            }
            return 200, failed, {}
        if path.startswith(f"{ACCOUNT}/deployments/"):
            name = path.rpartition("/")[2]
            return {"GET": self._get, "PUT": self._put, "DELETE": self._delete}[method](name, body)
        return _error(404, "ResourceNotFound", f"There is no {path}.")

    def _accounts(self, query: Mapping[str, list[str]]) -> Reply:
        """Return the accounts of the subscription, one a page."""
        address = self.data_plane.url.removesuffix("v1")
        accounts = [("another", "https://another.openai.azure.com/"), ("raft-foundry", address)]
        number = int(query.get("$skiptoken", ["0"])[0])
        name, endpoint = accounts[number]
        endpoints = {"OpenAI Language Model Instance API": endpoint}
        account = {
            "id": f"{GROUP}/{name}",
            "name": name,
            "kind": "AIServices",
            "location": "swedencentral",
            "properties": {"endpoint": "https://unused.example/", "endpoints": endpoints},
        }
        link = f"{self.host}{ACCOUNTS}?api-version=2025-09-01&$skiptoken={number + 1}"
        more = {"nextLink": link} if number + 1 < len(accounts) else {}
        return 200, {"value": [_checked("Account", account)], **more}, {}

    def _account_models(self) -> list[dict[str, Any]]:
        return [
            {"format": "OpenAI", "name": "gpt-4.1-mini", "version": "2025-04-14", "skus": []},
            {"format": "Mistral AI", "name": "Ministral-3B", "version": "2411", "skus": []},
        ]

    def _get(self, name: str, body: bytes) -> Reply:
        deployment = self.deployments.get(name)
        if deployment is None:
            return _error(404, "ResourceNotFound", f"The deployment {name} was not found.")
        reply = self._deployment(name)
        if len(deployment["states"]) > 1:
            deployment["states"].pop(0)
        elif deployment["states"] == ["Deleting"]:
            del self.deployments[name]
        return 200, reply, {}

    def _put(self, name: str, body: bytes) -> Reply:
        value = json.loads(body)
        if problem := deviation(SCHEMA, "Deployment", value, sent=True):
            return _error(400, "InvalidRequestContent", problem)
        sku = value["sku"]
        if sku["name"] not in self.skus:
            message = f"The specified SKU '{sku['name']}' of model is not supported in this region."
            return _error(400, "InvalidResourceProperties", message)
        if sku["capacity"] > self.quota:
            message = f"This operation require {sku['capacity']} new capacity in quota, which is bigger than {self.quota}."
            return _error(400, "InsufficientQuota", message)
        self.puts.append(value)
        new = name not in self.deployments
        self.deployments[name] = {"value": value, "states": list(self.deployment_states)}
        operation = f"{self.host}{ACCOUNT}/operations/{name}?api-version=2025-09-01"
        return 201 if new else 200, self._deployment(name), {"Azure-AsyncOperation": operation}

    def _delete(self, name: str, body: bytes) -> Reply:
        if name not in self.deployments:
            return 204, b"", {}
        self.deployments[name]["states"] = ["Deleting"]
        return 202, b"", {"Location": f"{self.host}{ACCOUNT}/operations/1"}

    def _deployment(self, name: str) -> dict[str, Any]:
        value, states = self.deployments[name]["value"], self.deployments[name]["states"]
        return _checked(
            "Deployment",
            {
                "id": f"{ACCOUNT}/deployments/{name}",
                "name": name,
                "type": "Microsoft.CognitiveServices/accounts/deployments",
                "sku": value["sku"],
                "properties": {**value["properties"], "provisioningState": states[0]},
                "systemData": {"createdAt": "2026-11-27T10:00:00.1234567Z"},
            },
        )


def _checked(name: str, value: dict[str, Any]) -> dict[str, Any]:
    problem = deviation(SCHEMA, name, value)
    assert not problem, problem
    return value


def _page(rows: list[dict[str, Any]]) -> Reply:
    return 200, {"value": rows}, {}


def _error(status: int, code: str, message: str) -> Reply:
    return status, {"error": {"code": code, "message": message}}, {}


@contextmanager
def scripted_foundry(folder: Path, **settings: Any) -> Iterator[Foundry]:
    """Run both services until the end of the block; `settings` are those of the data plane."""
    with (
        scripted_finetuning(azure="v1", **settings) as data,
        scripted_azureml(folder, Foundry(data)) as foundry,
    ):
        assert isinstance(foundry, Foundry)
        yield foundry


def environment(foundry: Foundry) -> dict[str, str]:
    """Return the environment variables that point azure-identity and the project to the service."""
    return {
        **sign_in(foundry),
        "AZURE_RESOURCE_MANAGER": foundry.host,
        "AZURE_OPENAI_ENDPOINT": foundry.data_plane.url.removesuffix("/v1") + "/openai/v1",
    }
