"""demo: the whole story on the project's own documents, with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA = Path(__file__).resolve().parents[2] / "data"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes.", metavar="DIR")] = Path("demo"),
) -> None:
    """Make a RAFT dataset from data/ with nothing but this machine: no key, no network, a few minutes.

    [bold]Example[/bold]

      python -m tools demo
    """
    from tools.raft.build import Settings
    from tools.raft.endpoint import resolve_endpoint
    from tools.verbs.generate import produce

    # Passages of this size are what the embedded teacher was trained on; one question each takes minutes.
    settings = Settings(questions=1, chunk_size=160, formats=("chat", "eval"))
    produce(
        [str(DATA / "documents")],
        out,
        resolve_endpoint("embedded"),
        settings,
        questions_file=DATA / "questions.jsonl",
    )
