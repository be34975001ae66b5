"""Options that several verbs share, and the endpoint they resolve to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import Api

if TYPE_CHECKING:
    from tools.raft.models.endpoint import Endpoint

INCOMPLETE = 3  # exit status: rows are missing as calls failed; running again may complete them


Connection = Annotated[
    str,
    typer.Option(
        help="A connection of connections/ or of promptflow, NAME:MODEL, URL:MODEL, or an adapter F.gguf."
    ),
]
Model = Annotated[str, typer.Option(help="Model name; on Azure OpenAI the deployment name.")]
BaseUrl = Annotated[
    str, typer.Option(help="An OpenAI-compatible URL instead of a connection; its key in RAFT_API_KEY.")
]
ApiKind = Annotated[
    Api | None, typer.Option(help="The API to call; by default inferred from the URL, else chat.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds before a call is aborted and retried.")]
ChunkSize = Annotated[int, typer.Option(min=16, help="Maximum tokens per chunk.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first document that cannot be read.")]
MorePaths = Annotated[list[str] | None, typer.Argument(hidden=True, metavar="[PATH]…")]


def named_endpoint(
    connection: str, model: str, base_url: str, api: Api | None, *, embedded_model: str = ""
) -> Endpoint:
    """Return the endpoint that the options name. Raise UserError if they name none."""
    from tools.connections import lookup
    from tools.raft.models.endpoint import EMBEDDED_MODEL, resolve_endpoint

    return resolve_endpoint(
        connection or None,
        model=model or None,
        base_url=base_url or None,
        api=api,
        lookup=lookup,
        embedded_model=embedded_model or EMBEDDED_MODEL,
    )
