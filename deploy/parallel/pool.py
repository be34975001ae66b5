"""The endpoints that a job's environment names."""

from __future__ import annotations

import os

from tools.raft.errors import UserError
from tools.raft.models.endpoint import Endpoint, resolve_endpoint


def pool_from_environment() -> list[Endpoint]:
    """Return the endpoints of RAFT_CONNECTION: one or, separated by commas, several, as NAME or NAME:MODEL.

    RAFT_MODEL is the model of those that name none. Raises UserError for one that cannot be called.
    """
    names = [name.strip() for name in os.environ.get("RAFT_CONNECTION", "").split(",") if name.strip()]
    if not names:
        raise UserError("RAFT_CONNECTION is not set: name a connection of connections/, or several")
    return [
        resolve_endpoint(name, model=None if ":" in name else os.environ.get("RAFT_MODEL")) for name in names
    ]
