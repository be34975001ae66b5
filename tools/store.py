"""promptflow's own store, of connections and runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptflow.client import PFClient


def open_store() -> PFClient:
    """Return a client of the store that also works in a worker of a batch.

    promptflow makes the store's lock when it is imported, and filelock refuses a lock made before a fork.
    That its telemetry, on unless `pf config set telemetry.enabled=false`, did not get through is not said.
    """
    from filelock import FileLock
    from promptflow._sdk._orm import session
    from promptflow.client import PFClient

    if session.session_maker is None:
        session.lock = FileLock(session.LOCAL_MGMT_DB_SESSION_ACQUIRE_LOCK_PATH)
    # promptflow mutes the loggers of the exporter that it knew of; this one is newer.
    logging.getLogger("azure.monitor.opentelemetry.exporter.export._base").setLevel(logging.CRITICAL)
    return PFClient()
