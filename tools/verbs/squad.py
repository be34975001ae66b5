"""squad: questions people answered → a RAFT dataset, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def squad(
    qa: Annotated[
        Path, typer.Option(help="Questions people answered, as JSON in the format of SQuAD.", metavar="FILE")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.", metavar="DIR")],
    distractors: Annotated[int, typer.Option(min=0, max=50, help="Distractors a question.")] = 2,
    p: Annotated[
        float, typer.Option(min=0, max=1, help="Probability that the oracle is among the documents.")
    ] = 0.9,
    format: Annotated[
        list[str], typer.Option(help="hf, chat, completion, dsf or parquet; may be repeated.")
    ] = ["chat", "dsf"],  # noqa: B006
    valid: Annotated[float, typer.Option(min=0, max=1, help="Share of paragraphs for validation.")] = 0.05,
    rounds: Annotated[
        int, typer.Option(min=1, max=20, help="Times each question is trained on, beside other documents.")
    ] = 1,
    drills: Annotated[
        int, typer.Option(min=0, max=100, help="Questions made by rule, for practice, a paragraph and round.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Decides splits, distractors and places.")] = 42,
) -> None:
    """Make a RAFT dataset out of questions people answered: each paragraph is a document.

    The sentence that holds the answer is what is quoted. One question a paragraph is kept out, in
    questions.jsonl: its paragraph is known at the test, the question is not.

    [bold]Example[/bold]

      python -m tools squad --qa xquad.en.json --out out/xquad
    """
    from rich.console import Console

    from tools.raft.generate.from_squad import records_from_squad, write_squad_records
    from tools.raft.ingest.squad import read_paragraphs

    result = records_from_squad(
        read_paragraphs(qa),
        distractors=distractors,
        p=p,
        valid=valid,
        rounds=rounds,
        drills=drills,
        seed=seed,
    )
    files = write_squad_records(result, out, formats=format, p=p)
    console = Console(highlight=False, soft_wrap=True)
    for count, why in (
        (result.left_out, "left out: no single sentence holds their answer"),
        (result.repeated, "asked twice of a paragraph, taken once"),
    ):
        if count:
            console.print(f"{count} questions {why}")
    drilled = f"{files['drills.jsonl']['rows']} drills, " if "drills.jsonl" in files else ""
    console.print(
        f"Dataset: {len(result.records)} rows of {len(result.chunks)} paragraphs in {out}, "
        f"{len(result.held_out)} questions kept out in {out / 'questions.jsonl'}; "
        f"{files['train.jsonl']['rows']} to train on, {drilled}{files['valid.jsonl']['rows']} to validate"
    )
