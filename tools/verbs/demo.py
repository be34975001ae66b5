"""demo: the pipeline on the project's own documents, with the embedded model: a tour, or the whole story."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tools.raft.files import PROJECT

if TYPE_CHECKING:
    from tools.raft.evaluate.arms import Role
    from tools.raft.models.endpoint import Endpoint

DATA = PROJECT / "data"
EPOCHS = 4  # about five minutes of training on two cores
SWEEP_QUESTIONS = 4  # repeated with 0 to 10 distractors: enough for an illustration, not for a claim
QUESTIONS = (
    "How far apart are the bars of the gate at Harrow Hole?",
    "What does it cost to rent a bodyboard for a whole day?",
    "What is the rating of the main fuse of the S1?",
)


def demo(
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the output: demo, or demo-full with --full.", metavar="DIR"),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="The whole story on all documents, without a limit on its time.")
    ] = False,
) -> None:
    """Build a RAFT dataset from data/, fine-tune on it, answer, compare: no key, no network, 5 minutes.

    [bold]Examples[/bold]

      python -m tools demo
      python -m tools demo --full

    Interrupt it at any time and run it again: it goes on where it was.
    """
    if full:
        whole_story(out or Path("demo-full"))
    else:
        from tools.verbs.tour import tour

        tour(out or Path("demo"))


def whole_story(out: Path) -> None:
    """Run every step on all sample documents and all held-out questions."""
    from tools.raft.generate.settings import DatasetSettings
    from tools.raft.models.endpoint import TEACHER_MODEL, resolve_endpoint
    from tools.verbs.generate import produce

    # The embedded teacher was trained on passages of this size; one question each takes minutes.
    settings = DatasetSettings(questions=1, chunk_size=160, formats=("chat", "eval"))
    produce(
        [str(DATA / "documents")],
        out,
        [resolve_endpoint("embedded", model=TEACHER_MODEL)],
        settings,
        questions_file=DATA / "questions.jsonl",
    )
    adapter = train_on(out)
    answer_from(out, adapter)
    compare_on(out, adapter)


def train_on(out: Path) -> Path:
    """Fine-tune the embedded model on the dataset, on this machine; return the path of the adapter."""
    from tools.raft.finetune.backend import GGUF, FineTuneSpec
    from tools.raft.finetune.job import run_job
    from tools.raft.finetune.local.backend import LocalBackend
    from tools.verbs import progress, show

    folder = out / "tuned"
    spec = FineTuneSpec(out, "embedded", epochs=EPOCHS)
    with progress.training() as on_status:
        record = run_job(LocalBackend(folder), spec, folder, poll=1.0, on_status=on_status)
    show.tuned(record, folder)
    return folder / GGUF


def answer_from(out: Path, adapter: Path) -> None:
    """Index the chunks of the dataset and answer three questions as both chat flows do."""
    from tools.raft.ingest.chunks import read_chunks
    from tools.raft.models.embed import Embedder
    from tools.raft.models.embedded import serving
    from tools.raft.models.endpoint import resolve_endpoint
    from tools.raft.rag.build_index import build_index
    from tools.raft.rag.index import open_index
    from tools.verbs import progress, show
    from tools.verbs.answer import produce as answer

    folder = out / "index"
    with progress.embedding() as on_batch:
        manifest = build_index(list(read_chunks(out / "chunks.jsonl")), folder, Embedder(), on_batch=on_batch)
    show.index(manifest, folder)
    rows = [{"question": question} for question in QUESTIONS]
    index, rows_by_model = open_index(folder), []
    for model in ("embedded", str(adapter)):
        with serving(resolve_endpoint(model), progress.bar) as live:
            answers, _ = answer(rows, index, [live], out / ".cache", workers=4, timeout=120.0)
        rows_by_model.append(answers.rows)
    show.answers(*rows_by_model)


def compare_on(out: Path, adapter: Path) -> None:
    """Compare the base and the tuned model on held-out questions and write the report."""
    from tools.raft.evaluate.arms import choose_arms
    from tools.raft.evaluate.run import ComparisonPlan, run_comparison
    from tools.raft.models.endpoint import resolve_endpoint
    from tools.raft.models.pricing import load_prices
    from tools.verbs.progress import bar
    from tools.verbs.show_comparison import show_comparison

    endpoints: dict[Role, list[Endpoint]] = {
        "baseline": [resolve_endpoint("embedded")],
        "raft": [resolve_endpoint(str(adapter))],
    }
    result = run_comparison(
        ComparisonPlan(
            DATA / "held_out.jsonl",
            out / "index",
            out / "report",
            choose_arms(["rag", "raft"], list(endpoints)),
            endpoints,
            load_prices(),
            distractor_questions=SWEEP_QUESTIONS,
            dataset=out,
        ),
        progress=bar,
    )
    show_comparison(result.comparison, result.report)
