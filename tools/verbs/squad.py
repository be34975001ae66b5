"""squad: questions with human answers → a RAFT dataset, without a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from tools.raft.choices import FOCUS_SHARE
from tools.verbs.options import FocusOption, FocusShare, NegativesOption, NoOracleOption, OrderOption


def squad(
    qa: Annotated[
        Path,
        typer.Option(
            help="Questions with human answers in SQuAD format: JSON or JSON lines.", metavar="FILE"
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.", metavar="DIR")],
    distractors: Annotated[int, typer.Option(min=0, max=50, help="Distractors per question.")] = 2,
    p: Annotated[
        float, typer.Option(min=0, max=1, help="Probability that the oracle is among the documents.")
    ] = 0.9,
    negatives: NegativesOption = "lexical",
    no_oracle: NoOracleOption = "keep",
    order: OrderOption = "shuffled",
    focus: FocusOption = False,
    focus_share: FocusShare = FOCUS_SHARE,
    format: Annotated[
        list[str], typer.Option(help="hf, chat, completion, dsf, dpo or parquet; may be repeated.")
    ] = ["chat", "dsf"],  # noqa: B006
    valid: Annotated[float, typer.Option(min=0, max=1, help="Share of paragraphs for validation.")] = 0.05,
    rounds: Annotated[
        int, typer.Option(min=1, max=20, help="Rows per training question, each with other distractors.")
    ] = 1,
    drills: Annotated[
        int, typer.Option(min=0, max=100, help="Rule-based cloze drills per paragraph and round.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of splits, distractors and document order.")] = 42,
) -> None:
    """Build a RAFT dataset from questions with human answers: each paragraph is a document.

    The quote is the sentence that holds the answer. One question per paragraph is held out, in
    questions.jsonl: training has seen its paragraph, but not the question.

    [bold]Example[/bold]

      python -m tools squad --qa xquad.en.json --out out/xquad
    """
    from rich.console import Console

    from tools.raft.generate.from_squad import records_from_squad, write_squad_records
    from tools.raft.ingest.squad import read_paragraphs
    from tools.raft.models.embed import Embedder
    from tools.raft.rag.focus import Focus
    from tools.raft.rag.sentences import Sentences
    from tools.verbs.progress import bar
    from tools.verbs.show_pairs import show_pairs

    paragraphs, left_out = read_paragraphs(qa)
    with bar("building rows", len(paragraphs)) as on_paragraph:
        result = records_from_squad(
            paragraphs,
            distractors=distractors,
            p=p,
            negatives=negatives,
            no_oracle=no_oracle,
            order=order,
            focus=Focus(Sentences(Embedder()), share=focus_share) if focus else None,
            valid=valid,
            rounds=rounds,
            drills=drills,
            seed=seed,
            left_out=left_out,
            on_paragraph=lambda: on_paragraph(1),
        )
    with bar("writing the dataset", 0):
        files = write_squad_records(result, out, formats=format)
    console = Console(highlight=False, soft_wrap=True)
    rejected = Counter(row["reason"] for row in result.left_out)
    for reason, count in rejected.most_common():
        console.print(f"{count} row{'s' * (count > 1)} left out: {reason}")
    if rejected:
        console.print(f"What was left out: {out / 'rejected.jsonl'}", markup=False)
    show_pairs(files, console)
    drilled = f"{files['drills.jsonl']['rows']} drills, " if "drills.jsonl" in files else ""
    console.print(
        f"Dataset: {len(result.records)} rows from {len(result.chunks)} paragraphs in {out}, "
        f"{len(result.held_out)} questions held out in {out / 'questions.jsonl'}; "
        f"{files['train.jsonl']['rows']} for training, {drilled}{files['valid.jsonl']['rows']} for validation"
    )
