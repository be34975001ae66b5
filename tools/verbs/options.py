"""Options that several verbs share, and the endpoint that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.models.endpoint import EMBEDDED_MODEL, Api

if TYPE_CHECKING:
    from tools.raft.models.endpoint import Endpoint

INCOMPLETE = 3  # exit status: the endpoint still owes rows, running again may get them


Connection = Annotated[
    str,
    typer.Option(
        help="A connection of connections/ or of promptflow, NAME:MODEL, URL:MODEL, or an adapter F.gguf."
    ),
]
Model = Annotated[str, typer.Option(help="Model, or deployment on Azure OpenAI.")]
BaseUrl = Annotated[
    str, typer.Option(help="An OpenAI-compatible URL instead of a connection; its key in RAFT_API_KEY.")
]
ApiKind = Annotated[
    Api | None, typer.Option(help="The API to call; told from the URL where it says so, else chat.")
]
Timeout = Annotated[float, typer.Option(min=1, help="Seconds before a call is given up and tried again.")]
ChunkSize = Annotated[int, typer.Option(min=16, help="Tokens a chunk, at most.")]
Strict = Annotated[bool, typer.Option("--strict", help="Stop at the first document that cannot be read.")]
MorePaths = Annotated[list[str] | None, typer.Argument(hidden=True, metavar="[PATH]…")]


def named_endpoint(
    connection: str, model: str, base_url: str, api: Api | None, *, embedded_model: str = EMBEDDED_MODEL
) -> Endpoint:
    """Look up the endpoint that the options name; raises UserError where they name none."""
    from tools.connections import lookup
    from tools.raft.models.endpoint import resolve_endpoint

    return resolve_endpoint(
        connection or None,
        model=model or None,
        base_url=base_url or None,
        api=api,
        lookup=lookup,
        embedded_model=embedded_model,
    )
