"""The bridge to promptflow's connections: create them, and resolve them to endpoints of the library."""

from __future__ import annotations

import importlib.util
import os
import random
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.raft.errors import UserError, one_line
from tools.raft.models.cache import cache_directory
from tools.raft.models.endpoint import (
    CONNECTIONS,
    Endpoint,
    environment,
    from_fields,
    kind_of,
    read_connection,
)
from tools.raft.models.lives import check_alive
from tools.store import open_store
from tools.traced_client import TracedClient

# The only variable in connections/ that may be left empty: Entra ID is used instead.
OPTIONAL = "AZURE_OPENAI_API_KEY"


def create_connections(
    names: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    *,
    port: int | None = None,
    directory: Path = CONNECTIONS,
) -> list[tuple[str, str]]:
    """Create or update promptflow connections from the YAML files, with their variables filled in.

    If names are given, create those; a missing variable raises UserError before anything is created.
    Otherwise create all whose variables are set. `port`: where the embedded model is served, if not where its
    file says. Return (name, status) pairs, the status being "created",
    "updated" or "skipped: …". Raise UserError also if the system has no keyring.
    """
    env = environment(directory.parent) if env is None else env
    requested = list(names)
    files = {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    if unknown := [name for name in requested if name not in files]:
        raise UserError(f"there is no {directory / unknown[0]}.yaml; known connections: {', '.join(files)}")
    if port and requested and "embedded" not in requested:
        raise UserError("--port is that of `python -m tools serve`: name embedded, too")
    ready: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name in requested or files:
        try:
            ready[name] = load_connection(files[name], env)
        except UserError as error:
            if requested:
                raise
            skipped[name] = f"skipped: {error}"

    if port and "embedded" in ready:
        ready["embedded"].base_url = f"http://127.0.0.1:{port}/v1"

    from promptflow._sdk._errors import StoreConnectionEncryptionKeyError

    client = open_store()
    known = {connection.name for connection in client.connections.list(all_results=True)}
    statuses = []
    for name in requested or files:
        if name in skipped:
            statuses.append((name, skipped[name]))
            continue
        try:
            client.connections.create_or_update(ready[name])
        except StoreConnectionEncryptionKeyError:
            raise UserError(
                "this machine has no keyring, which promptflow needs to encrypt its connections: "
                "run `pip install keyrings.alt` and try again"
            ) from None
        statuses.append((name, "updated" if ready[name].name in known else "created"))
    return statuses


def load_connection(file: Path, env: Mapping[str, str]) -> Any:
    """Load a promptflow connection from its YAML file, with its variables filled in.

    Raise UserError if a variable is not set or promptflow does not accept the result.
    """
    fields, missing = read_connection(file, env)
    if missing == [OPTIONAL]:
        fields = {**fields, "auth_mode": "meid_token"}
        del fields["api_key"]
    elif required := sorted({name for name in missing if name != OPTIONAL}):
        raise UserError(
            f"{file.stem} needs {' and '.join(required)} in the environment or in .env (see .env.example)"
        )
    from promptflow._sdk.entities._connection import _Connection

    try:
        return _Connection._load(data=fields, yaml_path=file)
    except Exception as error:
        message = str(error)
        for value in _secrets(fields):
            message = message.replace(value, "[key]")
        raise UserError(f"{file} is not a connection promptflow accepts: {one_line(message)}") from None


def _secrets(fields: Mapping[str, Any]) -> list[str]:
    values = [fields.get("api_key"), *(fields.get("secrets") or {}).values()]
    return [str(value) for value in values if value]


def promptflow_endpoint(connection: Any, model: str = "") -> Endpoint:
    """Resolve a promptflow connection, given as the object a node receives or by name, to an endpoint.

    AzureOpenAI, OpenAI, Serverless and Custom connections are supported; a custom one has `base_url` or
    `api_base` and optionally `model` in its configs, and `api_key` in its secrets. Raise UserError for
    any other type, and if no model is given.
    """
    if isinstance(connection, str):
        found = lookup(connection, model)
        if found is None:
            raise UserError(
                f"promptflow has no connection {connection!r}: create it with `python -m tools connect`"
            )
        return found
    name = connection.name or "connection"
    flat = {**connection.configs, **connection.secrets}
    if re.search(r"\$\{env:", str(flat)):
        raise UserError(
            f"connection {name} still holds ${{env:…}}: `python -m tools connect {name}` fills it in"
        )
    kind = kind_of(connection.type, flat, name)
    endpoint = from_fields(name, flat, kind, model=model, key_from=f"connection {name}")
    if not endpoint.model:
        raise UserError(f"connection {name} needs a model: set it in the inputs of the node")
    return endpoint


def lookup_without_file(name: str, model: str) -> Endpoint | None:
    """Look up a name for the command line, where a file in connections/ comes before promptflow's store.

    Its variables may have changed since `connect`, and to open promptflow's store takes a second.
    """
    return None if (CONNECTIONS / f"{name}.yaml").is_file() else lookup(name, model)


def lookup(name: str, model: str) -> Endpoint | None:
    """Look up a connection stored in promptflow, for `resolve_endpoint`; return None if there is none."""
    if importlib.util.find_spec("promptflow") is None:  # requirements-core.txt
        return None
    from promptflow._sdk._errors import ConnectionNotFoundError

    try:
        found = open_store().connections.get(name, with_secrets=True)
    except ConnectionNotFoundError:
        return None
    except Exception as error:  # no keyring, another machine's encryption
        raise UserError(f"promptflow's connection {name} cannot be read: {one_line(error)}") from None
    return promptflow_endpoint(found, model)


def node_client(connection: Any, model: str, more_connections: str = "") -> TracedClient:
    """Build the client of a node; its replies are cached in RAFT_CACHE_DIR, if that is set.

    more_connections: names or NAME:MODEL, separated by commas, of further endpoints of the same model. Each
    client begins with another of them: the lines of a run are in processes that know nothing of each other.
    RAFT_CONNECTION, one or several, and RAFT_MODEL in the environment of a run replace what the node names.
    promptflow's own `--connections` cannot do that for a node whose file comes from `additional_includes`.
    """
    if names := os.environ.get("RAFT_CONNECTION"):
        connection, _, more_connections = names.partition(",")
        model = ""
    model = os.environ.get("RAFT_MODEL") or model
    endpoints = [promptflow_endpoint(connection, model)]
    for name in filter(None, (name.strip() for name in more_connections.split(","))):
        name, _, own_model = name.partition(":")
        endpoints.append(promptflow_endpoint(name, own_model or model))
    for endpoint in endpoints:
        check_alive(endpoint.base_url, endpoint.model)
    random.shuffle(endpoints)
    return TracedClient(endpoints, cache_dir=cache_directory(None))
