"""Options that several verbs share, the endpoint that they name, and the embedded model started for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tools.raft.endpoint import Endpoint

EMBEDDED_SLOTS = 8  # calls that the embedded model works on at a time
INCOMPLETE = 3  # exit status: the endpoint still owes rows, running again may get them


class Api(str, Enum):
    """How the model is called."""

    chat = "chat"
    completion = "completion"


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


def named_endpoint(connection: str, model: str, base_url: str, api: Api | None) -> Endpoint:
    """Look up the endpoint that the options name; raises UserError where they name none."""
    from tools.connections import lookup
    from tools.raft.endpoint import resolve_endpoint

    return resolve_endpoint(
        connection or None,
        model=model or None,
        base_url=base_url or None,
        api=api.value if api else None,
        lookup=lookup,
    )


@contextmanager
def running(endpoint: Endpoint, *, teacher: bool = False) -> Iterator[Endpoint]:
    """Start the embedded model while it is needed; any other is there.

    It is served as it comes, as the teacher, or with the adapter that the endpoint names.
    """
    if endpoint.kind != "embedded":
        yield endpoint
        return
    from tools.raft.serve import embedded_server, teacher_adapter

    lora = Path(endpoint.adapter) if endpoint.adapter else teacher_adapter() if teacher else None
    model, revision = None, "untuned"
    if lora:
        from tools.raft.merge import merged_model

        model, revision = merged_model(lora)
    with embedded_server(model=model, slots=EMBEDDED_SLOTS) as base_url:
        yield replace(endpoint, base_url=base_url, revision=revision)
