"""teach: train the adapter that turns the embedded model into a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def teach(
    qa: Annotated[
        Path, typer.Option(help="Questions written by people, as JSON in SQuAD format.", metavar="FILE")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the adapter, its log and its metrics.", metavar="DIR")
    ],
    epochs: Annotated[float, typer.Option(min=0.01)] = 2.5,
    learning_rate: Annotated[float, typer.Option(min=0)] = 1e-3,
    rank: Annotated[int, typer.Option(min=1, max=256)] = 16,
    seed: Annotated[int, typer.Option()] = 42,
) -> None:
    """Train the embedded teacher's LoRA adapter on questions written by people.

    [bold]Example[/bold]

      python -m tools teach --qa xquad.en.json --out teacher
    """
    from tools.raft.finetune.local.log import read_status
    from tools.raft.finetune.local.teacher import train_teacher
    from tools.raft.finetune.local.train import LOG
    from tools.verbs.progress import console, training

    with training() as show:
        adapter = train_teacher(
            qa, out, epochs=epochs, learning_rate=learning_rate, rank=rank, seed=seed,
            report=console.print, on_step=lambda step: show(read_status(out / LOG)),
        )  # fmt: skip
    console.print(f"Teacher: {adapter}", soft_wrap=True)
