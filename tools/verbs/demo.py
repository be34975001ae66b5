"""demo: the whole story on the project's own documents, with the embedded model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DATA = Path(__file__).resolve().parents[2] / "data"
ASKED = (
    "How far apart are the bars of the gate at Harrow Hole?",
    "What does it cost to rent a bodyboard for a whole day?",
    "What is the rating of the main fuse of the S1?",
)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes.", metavar="DIR")] = Path("demo"),
) -> None:
    """Make a RAFT dataset from data/, index it and answer from it: no key, no network, a few minutes.

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
    answer_from(out)


def answer_from(out: Path) -> None:
    """Index the chunks of the dataset, and answer three questions as both chat flows do."""
    from tools.raft.embed import Embedder
    from tools.raft.endpoint import resolve_endpoint
    from tools.raft.index import build_index, open_index
    from tools.raft.records import read_chunks
    from tools.verbs import show
    from tools.verbs.answer import produce as answer
    from tools.verbs.options import running

    folder = out / "index"
    with show.embedding() as on_batch:
        manifest = build_index(list(read_chunks(out / "chunks.jsonl")), folder, Embedder(), on_batch=on_batch)
    show.index(manifest, folder)
    rows = [{"question": question} for question in ASKED]
    with running(resolve_endpoint("embedded")) as live:
        answers, _ = answer(rows, open_index(folder), live, out / ".cache", workers=4, timeout=120.0)
    show.answers(answers.rows)
