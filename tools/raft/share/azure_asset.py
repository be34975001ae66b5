"""Register a dataset as a data asset of an Azure ML workspace: one version for each content."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..errors import UserError
from ..finetune.azure.workspace import Workspace, open_workspace, plain_errors
from ..progress import Progress, no_progress
from .contents import Contents, staged

_TAG_LENGTH = 256  # characters of a value


class Registered(NamedTuple):
    """A version of a data asset; `new` is False if it was there already."""

    reference: str  # what a job's input takes as its path
    workspace: str
    new: bool


def register_dataset(
    contents: Contents,
    name: str,
    version: str = "",
    *,
    workspace: Workspace | None = None,
    progress: Progress = no_progress,
) -> Registered:
    """Upload a dataset and register it as the uri_folder `name`; its content's id is the default version.

    An asset cannot be changed. Raises UserError if that version has another content, or the workspace
    refuses.
    """
    from azure.ai.ml.constants import AssetTypes
    from azure.ai.ml.entities import Data
    from azure.core.exceptions import ResourceNotFoundError

    version = version or contents.version
    reference = f"azureml:{name}:{version}"
    tags = asset_tags(contents)
    workspace = workspace or open_workspace()
    with plain_errors():
        data = workspace.client.data
        try:
            with progress(f"looking up {reference}", 0):
                before = data.get(name, version=version)
        except ResourceNotFoundError:
            before = None
        if before is not None:
            if before.tags.get("content") != contents.version:
                raise UserError(
                    f"{reference} exists with other content: name another version, or none to have it "
                    "named after the content"
                )
            return Registered(reference, workspace.name, new=False)
        with (
            staged(contents, name) as folder,
            progress(f"uploading {len(contents.files)} files to {workspace.name}", 0),
            contextlib.redirect_stderr(io.StringIO()),  # the SDK's own progress
        ):
            asset = Data(
                name=name,
                version=version,
                type=AssetTypes.URI_FOLDER,
                path=str(folder),
                description=f"RAFT dataset: {sum(contents.rows.values())} rows",
                tags=tags,
            )
            data.create_or_update(asset)
    return Registered(reference, workspace.name, new=True)


def asset_tags(contents: Contents) -> dict[str, str]:
    """Return what a dataset can be found by: its content's id, rows, seed, teacher and manifest version."""
    manifest: Mapping[str, Any] = contents.manifest
    tags = {
        "content": contents.version,
        **{f"rows_{split}": count for split, count in contents.rows.items()},
        "seed": manifest.get("seed"),
        "teacher": manifest.get("models", {}).get("teacher"),
        "raft_manifest": manifest.get("version"),
    }
    return {name: str(value)[:_TAG_LENGTH] for name, value in tags.items() if value not in (None, "")}
