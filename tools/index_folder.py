"""The folder of the index that a node reads."""

import os
from pathlib import Path


def index_folder(name: str) -> Path:
    """Return RAFT_INDEX if it is set, otherwise the index that the node names.

    A relative path is below the flow's folder, of which promptflow runs a temporary copy.
    """
    return Path(__file__).parent.parent / (os.environ.get("RAFT_INDEX") or name)
