"""Where the library meets promptflow's connections: create them, and call what they point at."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tools.raft.errors import UserError, one_line
from tools.raft.models.cache import cache_directory
from tools.raft.models.client import Client
from tools.raft.models.endpoint import (
    CONNECTIONS,
    Endpoint,
    environment,
    from_fields,
    kind_of,
    read_connection,
)

# Of the variables in connections/, the only one that may stay empty: Entra ID takes its place.
OPTIONAL = "AZURE_OPENAI_API_KEY"


def create_connections(
    names: Iterable[str] = (), env: Mapping[str, str] | None = None, *, directory: Path = CONNECTIONS
) -> list[tuple[str, str]]:
    """Create or update promptflow connections from the YAML files, their variables filled in.

    With names, those, and a missing variable is a UserError before anything is created; without,
    all whose variables are set. Returns (name, status), status being "created", "updated" or
    "skipped: …". Raises UserError too where the system has no keyring.
    """
    env = environment(directory.parent) if env is None else env
    wanted = list(names)
    files = {path.stem: path for path in sorted(directory.glob("*.yaml"))}
    if unknown := [name for name in wanted if name not in files]:
        raise UserError(f"there is no {directory / unknown[0]}.yaml: known are {', '.join(files)}")
    ready: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name in wanted or files:
        try:
            ready[name] = load_connection(files[name], env)
        except UserError as error:
            if wanted:
                raise
            skipped[name] = f"skipped: {error}"

    from promptflow._sdk._errors import StoreConnectionEncryptionKeyError
    from promptflow.client import PFClient

    client = PFClient()
    known = {connection.name for connection in client.connections.list(all_results=True)}
    statuses = []
    for name in wanted or files:
        if name in skipped:
            statuses.append((name, skipped[name]))
            continue
        try:
            client.connections.create_or_update(ready[name])
        except StoreConnectionEncryptionKeyError:
            raise UserError(
                "this machine has no keyring, where promptflow keeps the key to its connections: "
                "`pip install keyrings.alt`, then try again"
            ) from None
        statuses.append((name, "updated" if ready[name].name in known else "created"))
    return statuses


def load_connection(file: Path, env: Mapping[str, str]) -> Any:
    """Read a connection's YAML into a promptflow connection, its variables filled in.

    Raises UserError where a variable is not set or promptflow does not take the result.
    """
    fields, missing = read_connection(file, env)
    if missing == [OPTIONAL]:
        fields = {**fields, "auth_mode": "meid_token"}
        del fields["api_key"]
    elif lacking := sorted({name for name in missing if name != OPTIONAL}):
        raise UserError(
            f"{file.stem} needs {' and '.join(lacking)} in the environment or in .env (see .env.example)"
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
    """Say where a promptflow connection points, given the object a node gets, or its name.

    Takes AzureOpenAI, OpenAI, Serverless and Custom connections (a custom one with `base_url` or
    `api_base`, perhaps `model`, in its configs and `api_key` in its secrets). Raises UserError for
    others, and where no model is named.
    """
    if isinstance(connection, str):
        found = lookup(connection, model)
        if found is None:
            raise UserError(
                f"promptflow has no connection {connection!r}: make it with `python -m tools connect`"
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
        raise UserError(f"connection {name} needs a model: name it in the flow's inputs")
    return endpoint


def lookup(name: str, model: str) -> Endpoint | None:
    """Find a connection among promptflow's own, for `resolve_endpoint`; None where there is none."""
    from promptflow._sdk._errors import ConnectionNotFoundError
    from promptflow.client import PFClient

    try:
        found = PFClient().connections.get(name, with_secrets=True)
    except ConnectionNotFoundError:
        return None
    except Exception as error:  # no keyring, another machine's encryption
        raise UserError(f"promptflow's connection {name} cannot be read: {one_line(error)}") from None
    return promptflow_endpoint(found, model)


def node_client(connection: Any, model: str) -> Client:
    """Make the client of one node of a flow; its replies are kept where RAFT_CACHE_DIR says, if anywhere."""
    return Client(promptflow_endpoint(connection, model), cache_dir=cache_directory(None))
