"""calibrate: an index and questions with known sources → when to refuse, stored in the index."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tools.raft.choices import Mode
from tools.raft.errors import UserError
from tools.verbs.options import MlflowOption


def calibrate(
    index: Annotated[Path, typer.Option(help="Folder that `index` wrote.", metavar="DIR")],
    questions: Annotated[
        Path | None,
        typer.Option(
            help='JSON lines with "question" and "chunk_id", "source" or "relevant", not those of a test.',
            metavar="F.jsonl",
        ),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Without questions: another index, whose threshold is taken over.", metavar="DIR"),
    ] = None,
    refuse_at_most: Annotated[
        float,
        typer.Option(min=0.001, max=0.5, help="Share of the answerable questions that may be refused."),
    ] = 0.05,
    k: Annotated[int, typer.Option(min=1, max=16, help="Documents retrieved per question.")] = 4,
    mode: Annotated[Mode, typer.Option(help="Retrieval mode.")] = "fused",
    mlflow: MlflowOption = False,
) -> None:
    """Fit when to refuse: a threshold on the evidence in the documents found, without asking a model.

    [bold]Examples[/bold]

      python -m tools calibrate --index index --questions out/valid.jsonl
      python -m tools calibrate --index index --questions q.jsonl --refuse-at-most 0.02
      python -m tools calibrate --index index --like another/index

    Each question is searched for twice, with its source and without it. The threshold is stored in the index
    with its curve: `answer`, `compare` and the chat flows then refuse what falls below it.
    """
    from rich.console import Console
    from rich.table import Table

    from tools.connections import lookup_without_file
    from tools.raft.evaluate.calibrate import calibrate as fit_threshold, describe, trade_offs
    from tools.raft.rag.answer import read_chat_questions
    from tools.raft.rag.index import open_index
    from tools.raft.rag.index_store import read_calibration, update_manifest
    from tools.raft.share.tracking import open_tracker
    from tools.verbs.progress import bar

    if (questions is None) == (like is None):
        raise UserError("nothing to fit: give either --questions F.jsonl or --like DIR")
    console = Console(highlight=False, soft_wrap=True)
    if like is not None:
        update_manifest(index, answerability=read_calibration(like))
        console.print(f"Threshold of {like} taken over in {index}: not measured on its questions")
        return
    assert questions is not None
    tracker = open_tracker() if mlflow else None
    rows = read_chat_questions(questions)
    with bar("opening the index", 0):
        opened = open_index(index, lookup=lookup_without_file)
    with bar("measuring evidence", len(rows)) as on_done:
        calibration = fit_threshold(
            opened, rows, k=k, mode=mode, at_most=refuse_at_most, name=questions.name, on_done=on_done
        )
    update_manifest(index, answerability=calibration)
    table = Table("threshold", "answerable, refused", "unanswerable, refused", "balanced accuracy")
    for point in trade_offs(calibration):
        wrongly, rightly = point["refused_wrongly"], point["refused_rightly"]
        balanced = (1 - wrongly + rightly) / 2
        table.add_row(f"{point['threshold']:.2f}", f"{wrongly:.1%}", f"{rightly:.1%}", f"{balanced:.2f}")
    console.print(table)
    console.print(describe(calibration, index))
    if tracker:
        settings = {"questions": questions.name, "k": k, "mode": mode, "at_most": refuse_at_most}
        measured = {name: value for name, value in calibration.items() if name not in settings}
        print(tracker.log_measurement("calibration", index, settings, measured))
