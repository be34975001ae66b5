"""The tour: all steps of the pipeline in about five minutes, as a transcript.

It does less of everything than the full demo (three documents, a brief training, eight questions), and starts
from two adapters that the repository ships. Interrupted at any step, it goes on when it is run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.raft.files import PROJECT
from tools.verbs.transcript import Transcript

if TYPE_CHECKING:
    from tools.raft.evaluate.arms import Role
    from tools.raft.finetune.backend import Status
    from tools.raft.models.endpoint import Endpoint
    from tools.raft.records import Draft, Record

DATA = PROJECT / "data"
DOCUMENTS = ("bats.pdf", "bat-survey.txt", "surf-handbook.docx")
CHUNK_SIZE = 160  # tokens: the embedded teacher was trained on passages of this size
DISTRACTORS = 2  # so the documents of a prompt are three, in training and in the comparison
GENERATED_AT_ONCE = 4  # with more, the first rows would come later
ANSWERED_AT_ONCE = 2
EPOCHS = 1
LEARNING_RATE = 2e-4  # less than usual: the shipped student has been trained already
QUESTIONS = 8  # of those held out
SEED = 42


def tour(out: Path) -> None:
    """Generate rows, tune the shipped student on them, and compare it with the base model."""
    transcript = Transcript()
    transcript.line(
        "RAFT in five minutes: documents → rows → a tuned model → a comparison, all on this machine.",
        "Shipped: sample documents, questions that people wrote, and two adapters of SmolLM2-135M that were "
        "trained on XQuAD, a teacher that writes rows and a student that answers.",
        "Made now: the rows, the index, the student tuned on these documents, all answers, the report.",
        "The whole story, with more of everything: python -m tools demo --full",
    )
    generate(out, transcript)
    adapter = train_and_index(out, transcript)
    compare(out, adapter, transcript)


def generate(out: Path, transcript: Transcript) -> None:
    """Write a dataset about the documents, its rows printed as they are accepted or rejected."""
    from tools.raft.generate.given_questions import read_given_questions
    from tools.raft.generate.pipeline import build_dataset
    from tools.raft.generate.settings import DatasetSettings
    from tools.raft.generate.summarise import summarise
    from tools.raft.ingest.corpus import collect_chunks
    from tools.raft.models.embedded import serving
    from tools.raft.models.endpoint import TEACHER_MODEL, resolve_endpoint
    from tools.raft.models.pricing import load_prices

    # No rows are set aside: the questions of the comparison are held out already.
    settings = DatasetSettings(
        questions=1,
        distractors=DISTRACTORS,
        chunk_size=CHUNK_SIZE,
        valid=0.0,
        test=0.0,
        seed=SEED,
        formats=("chat",),
    )
    given = [
        row for row in read_given_questions(DATA / "questions.jsonl") if set(row["relevant"]) & set(DOCUMENTS)
    ]
    with transcript.during("reading"):
        documents = [str(DATA / "documents" / name) for name in DOCUMENTS]
        corpus = collect_chunks(documents, chunk_size=CHUNK_SIZE)
    transcript.line(
        f"Read {', '.join(DOCUMENTS)}: {len(corpus.chunks)} passages. The teacher answers {len(given)} "
        "questions that people wrote, then asks its own, one about each passage."
    )
    numbers = iter(range(1, len(corpus.chunks) + len(given) + 1))

    def on_rows(records: Sequence[Record], rejected: Sequence[Draft]) -> None:
        for record in records:
            by = "written by a person" if record["origin"] == "given" else "generated"
            page = f", page {record['page']}" if record["page"] else ""
            transcript.line(
                f"row {next(numbers)}: {record['question']}",
                f"→ {record['final_answer']}  [{record['source']}{page}; question {by}]",
                style="green",
            )
        for draft in rejected:
            transcript.line(f"rejected: {draft['question'] or '(none)'} ({draft['reason']})", style="dim")

    teacher = resolve_endpoint("embedded", model=TEACHER_MODEL)
    with ExitStack() as stack:
        with transcript.during("starting the teacher, merged from model and adapter on first use"):
            live = stack.enter_context(serving(teacher))
        transcript.line("The teacher is ready.")
        stack.enter_context(transcript.during("generating"))
        result = build_dataset(
            corpus, live, out, settings, given=given, workers=GENERATED_AT_ONCE, on_rows=on_rows
        )
    summarise(result, corpus, [live], out, settings, prices=load_prices())
    transcript.line(
        f"Dataset: {result.counts.rows} rows in {out}, {result.rejected.total()} rejected "
        f"({result.usage.calls} calls made now, {result.usage.cached_calls} answered from the cache)."
    )


def train_and_index(out: Path, transcript: Transcript) -> Path:
    """Tune the shipped student on the rows and index the passages; return the path of the adapter."""
    from tools.raft.finetune.backend import GGUF, FineTuneSpec
    from tools.raft.finetune.job import run_job
    from tools.raft.finetune.local.backend import LocalBackend
    from tools.raft.models.weights import student_adapter
    from tools.verbs import show

    folder, step = out / "tuned", 0
    spec = FineTuneSpec(
        out,
        str(student_adapter()),
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        batch_size=1,  # a step every few seconds
        seed=SEED,
    )

    def on_status(status: Status) -> None:
        nonlocal step
        if (status["step"] or 0) > step:
            step = status["step"] or 0
            loss = status["metrics"].get("train_loss")
            transcript.line(
                f"training: step {step} of {status['steps']}"
                + (f", loss {loss:.2f}" if loss is not None else "")
            )

    transcript.line(
        "Training starts from the shipped student and sees each row once. Meanwhile the passages are indexed."
    )
    # The training process takes some seconds to load torch and the model: time for the index.
    with transcript.during("training, which begins with loading the model"), ThreadPoolExecutor(1) as pool:
        indexing = pool.submit(index, out, transcript)
        record = run_job(LocalBackend(folder), spec, folder, poll=1.0, on_status=on_status)
        indexing.result()
    show.tuned(record, folder)
    return folder / GGUF


def index(out: Path, transcript: Transcript) -> None:
    """Index the passages of the dataset."""
    from tools.raft.ingest.chunks import read_chunks
    from tools.raft.models.embed import Embedder
    from tools.raft.rag.build_index import build_index

    manifest = build_index(list(read_chunks(out / "chunks.jsonl")), out / "index", Embedder())
    transcript.line(f"Index: {manifest['chunks']} passages in {out / 'index'}.")


def compare(out: Path, adapter: Path, transcript: Transcript) -> None:
    """Ask base model, shipped and tuned student the same held-out questions, and write the report."""
    from tools.raft.evaluate.arms import choose_arms
    from tools.raft.evaluate.run import ComparisonPlan, run_comparison
    from tools.raft.models.endpoint import resolve_endpoint
    from tools.raft.models.pricing import load_prices
    from tools.raft.models.weights import student_adapter
    from tools.verbs.show_comparison import show_comparison

    total, held_out = pick_questions(out / "held_out.jsonl")
    transcript.line(
        f"{len(held_out)} of the {total} held-out questions about these documents, each with the same "
        f"{DISTRACTORS + 1} retrieved passages: to the base model, the shipped student and the tuned one."
    )
    endpoints: dict[Role, list[Endpoint]] = {
        "baseline": [resolve_endpoint("embedded")],
        "student": [resolve_endpoint(str(student_adapter()))],
        "raft": [resolve_endpoint(str(adapter))],
    }
    names = {"rag": "base", "student": "shipped", "raft": "tuned"}
    answers: dict[str, dict[str, str]] = {}

    def on_answer(arm: str, row: Mapping[str, Any]) -> None:
        by_name = answers.setdefault(row["question"], {})
        by_name[names[arm]] = brief(row["error"] or row["answer"])
        if arm != "raft":
            transcript.line(f"{names[arm]}: {row['question']}", f"→ {by_name[names[arm]]}")
        else:
            sides = [f"{name + ':':9}{by_name[name]}" for name in by_name]
            transcript.line(row["question"], *sides, style="green")

    with transcript.during("comparing, one model after another"):
        result = run_comparison(
            ComparisonPlan(
                out / "held_out.jsonl",
                out / "index",
                out / "report",
                choose_arms(list(names), list(endpoints)),
                endpoints,
                load_prices(),
                k=DISTRACTORS + 1,
                distractor_questions=0,
                dataset=out,
                workers=ANSWERED_AT_ONCE,
                seed=SEED,
            ),
            on_answer=on_answer,
        )
    transcript.line("rag is the base model, student the shipped adapter, raft the one tuned here and now.")
    show_comparison(result.comparison, result.report)


def pick_questions(path: Path) -> tuple[int, list[dict[str, Any]]]:
    """Write some of the held-out questions to `path`; return how many there are, and these."""
    from tools.raft.evaluate.arms import question_ids, sample
    from tools.raft.files import write_jsonl
    from tools.raft.rag.answer import read_chat_questions

    rows = [row for row in read_chat_questions(DATA / "held_out.jsonl") if row["source"] in DOCUMENTS]
    picked = [rows[position] for position in sample(question_ids(rows), QUESTIONS, SEED)]
    write_jsonl(path, picked)
    return len(rows), picked


def brief(text: str, length: int = 160) -> str:
    """Return a text on one line, shortened if it is long."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
