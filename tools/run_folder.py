"""The folder that the aggregation of a batch writes to."""

from collections.abc import Sequence
from pathlib import Path

from tools.raft.errors import UserError


def run_folder(name: str, given: Sequence[str]) -> Path | None:
    """Return the folder that all lines name; None if they name none, as in `pf flow test`."""
    folders = {folder for folder in given if folder}
    if not folders:
        return None
    if len(folders) > 1 or not Path(*folders).is_absolute():  # promptflow runs a temporary copy of the flow
        raise UserError(f"{name}: must be one absolute path, not {' and '.join(sorted(folders))}")
    return Path(folders.pop())
