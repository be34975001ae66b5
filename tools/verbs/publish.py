"""publish: a dataset → the Hugging Face Hub, or a data asset of an Azure ML workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tools.raft.errors import UserError

if TYPE_CHECKING:
    from tools.raft.share.contents import Contents


def publish(
    dataset: Annotated[Path, typer.Option(help="Folder that `generate` or `squad` wrote.", metavar="DIR")],
    to: Annotated[
        str,
        typer.Option(
            help="hf:OWNER/NAME on the Hub, azure-ml:NAME in the workspace; azure-ml:NAME:VERSION names the "
            "version, too.",
            metavar="PLACE",
        ),
    ],
    public: Annotated[
        bool, typer.Option("--public", help="hf: for everybody to see; otherwise it is private.")
    ] = False,
    branch: Annotated[
        str, typer.Option("--revision", help="hf: the branch to commit to, created if there is none.")
    ] = "",
    license: Annotated[
        str, typer.Option(help="hf: licence of the dataset, by its name on the Hub, such as cc-by-4.0.")
    ] = "",
    language: Annotated[
        list[str] | None, typer.Option(help="hf: its language as ISO 639 code; may be repeated.")
    ] = None,
    title: Annotated[str, typer.Option(help="hf: the title of its card.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files; send nothing.")] = False,
) -> None:
    """Publish a dataset where others find it, with its card and its splits.

    [bold]Examples[/bold]

      python -m tools publish --dataset out --to hf:OWNER/NAME --dry-run
      python -m tools publish --dataset out --to hf:OWNER/NAME --license cc-by-4.0 --language en
      python -m tools publish --dataset out --to azure-ml:bats

    What is sent are README.md, manifest.json and the files that it lists. What is there already is not sent
    again: run it again after an interruption, or after a change.
    Exit status: 0 success, 1 user error, 130 interrupted.
    """
    from rich.console import Console

    from tools.raft.share.contents import read_contents
    from tools.verbs.progress import bar

    place, _, name = to.partition(":")
    if place not in ("hf", "azure-ml") or not name:
        raise UserError(f"--to {to}: name the place as hf:OWNER/NAME or azure-ml:NAME")
    if place == "azure-ml" and (public or branch or license or language or title):
        raise UserError(
            "--public, --revision, --license, --language and --title are for hf: a data asset has none"
        )
    if place == "hf" and name.count("/") != 1:
        raise UserError(f"--to {to}: the Hub wants OWNER/NAME")
    console = Console(highlight=False, soft_wrap=True)
    with bar("reading the dataset", 0):
        contents = read_contents(dataset)
    for file in contents.edited:
        console.print(
            f"Warning: {file} is not as manifest.json describes it: edited, or generate was interrupted.",
            style="red",
            markup=False,
        )
    if dry_run:
        _list(contents, to, console)
        return
    if place == "azure-ml":
        from tools.raft.share.azure_asset import register_dataset

        asset = register_dataset(contents, *name.split(":", 1), progress=bar)
        state = "Registered" if asset.new else "Already there"
        console.print(f"{state}: {asset.reference} in workspace {asset.workspace}", markup=False)
        return
    from tools.raft.share.hub import publish_to_hub

    result = publish_to_hub(
        contents, name, public=public, branch=branch, license=license, languages=language or (),
        title=title, progress=bar,
    )  # fmt: skip
    seen_by = "private" if result.private else "public"
    if public and result.private:
        seen_by = "private, as it was; its settings on the Hub make it public"
    place_and_commit = f"{result.address} ({seen_by}), commit {result.revision[:7]}"
    if not result.changed and not result.removed:
        console.print(f"Already there: {place_and_commit}", markup=False)
        return
    removed = f", {len(result.removed)} removed" if result.removed else ""
    console.print(f"Published: {len(result.changed)} files sent{removed}: {place_and_commit}", markup=False)


def _list(contents: Contents, to: str, console: Any) -> None:
    """Print what would be sent."""
    sizes = {
        name: len(content) if isinstance(content, bytes) else content.stat().st_size
        for name, content in contents.files.items()
    }
    for name, size in sizes.items():
        console.print(f"  {name}  {size:,} bytes", markup=False)
    rows = ", ".join(f"{count:,} {split}" for split, count in contents.rows.items())
    console.print(
        f"{len(sizes)} files, {sum(sizes.values()):,} bytes for {to}; rows: {rows}. Nothing was sent.",
        markup=False,
    )
