"""Options of the workflows' commands, and how a command ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.choices import Mode
from tools.verbs.run_app import run_app

if TYPE_CHECKING:
    from tools.raft.models.endpoint import Endpoint

IndexOption = Annotated[
    str, typer.Option(help="Folder that `index` wrote; by default RAFT_INDEX, or `index`.", metavar="DIR")
]
K = Annotated[int, typer.Option(min=1, max=100, help="Documents retrieved per question.")]
ModeOption = Annotated[Mode, typer.Option(help="Retrieval mode.")]


def run_command(command: Callable[..., None]) -> None:
    """Run a command as the verbs are run."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    app.command()(command)
    run_app(app, "requirements-agents.txt")


def choose_endpoints(
    connection: Sequence[str] | None, model: str, base_url: str, *, embedded_model: str = ""
) -> list[Endpoint]:
    """Return the endpoints of the options, else of RAFT_CONNECTION and RAFT_MODEL, else the embedded model.

    Raise UserError if one of them cannot be called.
    """
    from tools.raft.models.endpoint import environment
    from tools.verbs.options import named_endpoints

    env = environment()
    if not connection and not base_url:
        names = (name.strip() for name in env.get("RAFT_CONNECTION", "").split(","))
        connection = [name for name in names if name]
        model = model or env.get("RAFT_MODEL", "")
    return named_endpoints(connection, model, base_url, None, embedded_model=embedded_model)


def choose_index(index: str) -> Path:
    """Return the folder of the index; one that is not named on the command line is below the project."""
    from tools.raft.files import PROJECT
    from tools.raft.models.endpoint import environment

    return Path(index) if index else PROJECT / (environment().get("RAFT_INDEX") or "index")
