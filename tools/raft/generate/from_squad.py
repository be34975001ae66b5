"""Convert human-answered questions in SQuAD format into RAFT records, without calling a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..choices import FOCUS_SHARE, Negatives, NoOracle, Order
from ..dataset.card import write_card, write_manifest
from ..dataset.export import PROMPT, make_datasets
from ..dataset.pairs import REJECTED_ANSWERS
from ..dataset.splits import assign_splits
from ..files import describe_file, write_jsonl
from ..ingest.chunks import make_chunk
from ..ingest.squad import LeftOut, Paragraph, Question, find_sentence, flat
from ..prompts import prompt_hash
from ..records import Chunk, Record, content_id, new_draft, question_id
from ..text.sentences import sentence_spans
from .assemble import RowOptions, assemble_records
from .distractors import Distractors
from .rows import rejected_answers
from .small_model.drills import make_drills
from .small_model.grammar import answer_reply

if TYPE_CHECKING:
    from ..rag.focus import Focus


@dataclass(frozen=True)
class SquadRecords:
    """Records made of people's questions, and the questions held out."""

    settings: Mapping[str, Any]  # what they were made with
    chunks: list[Chunk]  # one per paragraph
    records: list[Record] = field(default_factory=list)  # train and valid
    held_out: list[dict[str, Any]] = field(default_factory=list)  # for a comparison
    left_out: list[LeftOut] = field(default_factory=list)  # questions, and rows of later rounds
    rejected_answers: list[dict[str, Any]] = field(default_factory=list)  # of the records that are refusals

    def leave_out(self, question: str, chunk: Chunk, reason: str) -> None:
        """Keep a question that becomes no record, with its reason."""
        self.left_out.append({"question": question, "source": chunk["source"], "reason": reason})


def records_from_squad(
    paragraphs: Sequence[Paragraph],
    *,
    distractors: int = 2,
    p: float = 0.9,
    negatives: Negatives = "lexical",
    no_oracle: NoOracle = "keep",
    order: Order = "shuffled",
    focus: Focus | None = None,
    valid: float = 0.05,
    rounds: int = 1,
    drills: int = 0,
    seed: int = 42,
    left_out: Sequence[LeftOut] = (),
    on_paragraph: Callable[[], None] = lambda: None,
) -> SquadRecords:
    """Build a record of each question: its paragraph is the oracle, the sentence with the answer its quote.

    One question per training paragraph is held out, so that a test asks new questions about known
    paragraphs. The valid split has paragraphs of its own, and none of their questions is held out.

    rounds: records per question in the train split, each with other documents, which all questions about
    a paragraph then share unless a focus cuts them for each. drills: drills per paragraph, added in each
    round. left_out: the questions that could not be read, the first of the result's.
    """
    chunks = [
        make_chunk(
            paragraph.text,
            title=paragraph.title,
            source=f"{paragraph.title} {number}",
            page=None,
            kind="text",
        )
        for number, paragraph in enumerate(paragraphs, start=1)
    ]
    splits, _ = assign_splits(
        [chunk["id"] for chunk in chunks], seed=seed, valid=valid, test=0.0, smallest=distractors + 2
    )
    pool = Distractors(chunks, splits, negatives)
    options = RowOptions(distractors, p, seed, no_oracle, order, focus)
    shared = (rounds > 1 or drills > 0) and focus is None
    settings = {
        "distractors": distractors, "p": p, "negatives": negatives, "no_oracle": no_oracle, "order": order,
        "focus": focus is not None, "focus_share": focus.share if focus else FOCUS_SHARE, "valid": valid,
        "rounds": rounds, "drills": drills, "seed": seed,
    }  # fmt: skip
    result = SquadRecords(settings, chunks, left_out=[*left_out])
    prompts: set[str] = set()
    for paragraph, chunk in zip(paragraphs, chunks, strict=True):
        split = splits[chunk["id"]]
        unique: dict[str, Question] = {}
        for question in paragraph.questions:
            if (key := question_id(chunk["id"], question.text)) in unique:
                result.leave_out(question.text, chunk, "it stands twice under its paragraph")
            unique[key] = question
        questions = sorted(unique.values(), key=lambda question: content_id(seed, chunk["id"], question.text))
        if split == "train" and len(questions) > 1:
            result.held_out.append(_hold_out(questions.pop(), chunk))
        spans = list(sentence_spans(paragraph.text))
        question_drafts = []
        for question in questions:
            found = find_sentence(question, spans)
            if found is None:
                result.leave_out(question.text, chunk, "no single sentence holds the answer")
                continue
            quote, answer = found
            draft = new_draft(question.text, chunk["id"], origin="given")
            draft |= {
                "cot_answer": answer_reply(question.text, quote, answer),
                "final_answer": answer,
                "model": "human",
            }
            question_drafts.append(draft)
        drill_drafts = make_drills(chunk, drills * rounds, seed=seed) if split == "train" else []
        for i in range(rounds if split == "train" else 1):
            drafts = question_drafts + drill_drafts[i::rounds]
            drawn = pool.draw(drafts, chunk, k=distractors, seed=seed, round=i, shared=shared)
            records = assemble_records(drafts, chunk, drawn, options, split=split, round=i)
            for draft, record in zip(drafts, records, strict=True):
                if record["instruction"] in prompts:  # cut to the same sentences as in an earlier round
                    reason = "its documents are cut to the same as in an earlier round"
                    result.leave_out(draft["question"], chunk, reason)
                else:
                    prompts.add(record["instruction"])
                    result.records.append(record)
                    if row := rejected_answers(draft, record):
                        result.rejected_answers.append(row)
        on_paragraph()
    return result


def _hold_out(question: Question, chunk: Chunk) -> dict[str, Any]:
    """Return the row of a question that is kept for a comparison."""
    answers = list(dict.fromkeys(flat(answer) for _, answer in question.answers))
    gold = {"answer": answers[0]} if len(answers) == 1 else {"answers": answers}
    return {"question": question.text, **gold, "chunk_id": chunk["id"], "source": chunk["source"]}


def write_squad_records(
    result: SquadRecords, out: Path, *, formats: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Write chunks.jsonl, raft.jsonl, questions.jsonl and the split files; return the validated split files.

    With refusals, rejected_answers.jsonl has the answers in whose place they stand. rejected.jsonl has what
    was left out; manifest.json and the dataset card describe it all.

    Raises UserError if the dataset does not pass validation.
    """
    out.mkdir(parents=True, exist_ok=True)
    written: dict[str, Sequence[Mapping[str, Any]]] = {
        "chunks.jsonl": result.chunks,
        "raft.jsonl": result.records,
        "questions.jsonl": result.held_out,
        "rejected.jsonl": result.left_out,
    }
    (out / REJECTED_ANSWERS).unlink(missing_ok=True)
    if result.rejected_answers:
        written[REJECTED_ANSWERS] = result.rejected_answers
    for name, rows in written.items():
        write_jsonl(out / name, rows)
    settings = result.settings
    files, findings = make_datasets(
        out / "raft.jsonl", out, formats=formats, share=settings["p"], order=settings["order"]
    )
    manifest = write_manifest(
        out / "manifest.json",
        settings={**settings, "formats": list(formats)},
        seed=settings["seed"],
        models={"answers": "people"},
        prompt_hashes={PROMPT: prompt_hash(PROMPT)},
        counts={
            "paragraphs": len(result.chunks),
            "rows": len(result.records),
            "rows_by_split": dict(Counter(record["split"] for record in result.records)),
            "rows_with_oracle": sum(record["has_oracle"] for record in result.records),
            "held_out": len(result.held_out),
            "rejected": len(result.left_out),
        },
        documents=[],
        rejected_by_reason=Counter(row["reason"] for row in result.left_out),
        tokens={},
        endpoints=[],
        cost=0.0,
        files={**files, **{name: describe_file(out / name) for name in written}},
        notes=[str(finding) for finding in findings if finding.severity != "note"],
    )
    write_card(out / "README.md", manifest)
    return files
