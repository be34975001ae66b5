"""Say by name where a fine-tuning job runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .endpoint import Lookup, resolve_endpoint
from .errors import UserError
from .job import Backend


def open_backend(
    name: str,
    model: str,
    folder: Path,
    *,
    connection: str = "",
    base_url: str = "",
    deploy: bool = False,
    lookup: Lookup | None = None,
) -> Backend:
    """Open the backend of a job whose record stands in `folder`; nothing is called yet.

    `connection`, `base_url` and `lookup` are as in `resolve_endpoint`, for `openai`; `deploy` is for
    `azure-ml`. Raises UserError for a name that is none.
    """
    if name == "openai":
        from .finetune_openai import OpenAIBackend

        spec = connection or (None if base_url else "openai")
        resolve = partial(resolve_endpoint, spec, model=model, base_url=base_url or None, lookup=lookup)
        return OpenAIBackend(resolve, folder)
    if name == "azure-ml":
        from .finetune_azure import AzureMLBackend

        return AzureMLBackend(deploy=deploy)
    if name != "local":
        raise UserError(f"there is no backend {name!r}: take local, azure-ml or openai")
    from .finetune_local import LocalBackend

    return LocalBackend(folder)
