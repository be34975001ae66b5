"""connect: connections/*.yaml and the environment → promptflow connections."""

from __future__ import annotations

from typing import Annotated

import typer


def connect(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]…", help="Connections to create; by default all whose variables are set."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of `serve`, for the connection embedded.")
    ] = None,
) -> None:
    """Create promptflow connections from connections/*.yaml and the environment or .env.

    [bold]Examples[/bold]

      python -m tools connect
      python -m tools connect azure_openai embedded
      python -m tools connect embedded --port 8090
    """
    from rich.console import Console
    from rich.table import Table

    from tools.connections import create_connections

    statuses = create_connections(names or [], port=port)
    table = Table("connection", "status")
    for name, status in statuses:
        table.add_row(name, status)
    console = Console(highlight=False)
    console.print(table)
    created = sum(not status.startswith("skipped") for _, status in statuses)
    console.print(
        f"Connections: {created} created or updated, {len(statuses) - created} skipped; "
        "list them with: pf connection list"
    )
