"""Turn questions people answered, in the format of SQuAD, into RAFT records: no model is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..dataset.export import make_datasets
from ..dataset.splits import assign_splits
from ..files import write_jsonl
from ..ingest.chunks import make_chunk
from ..ingest.squad import Paragraph
from ..records import Chunk, Draft, Record, content_id, new_draft, question_id
from ..text.sentences import sentence_spans
from .assemble import assemble_records
from .distractors import Distractors, Negatives
from .small_model.drills import make_drills
from .small_model.grammar import answer_reply


@dataclass(frozen=True)
class SquadRecords:
    """Records out of people's questions, and the questions kept out of them."""

    chunks: list[Chunk]  # one a paragraph
    records: list[Record]  # train and valid
    held_out: list[dict[str, Any]]  # question, answer, chunk_id, source: for a comparison
    left_out: int  # questions whose answer stands in no single sentence, which cannot be quoted
    repeated: int  # questions asked twice of one paragraph, taken once


def records_from_squad(
    paragraphs: Sequence[Paragraph],
    *,
    distractors: int = 2,
    p: float = 0.9,
    negatives: Negatives = "lexical",
    valid: float = 0.05,
    rounds: int = 1,
    drills: int = 0,
    seed: int = 42,
) -> SquadRecords:
    """Make a record of every question: its paragraph is the oracle, the sentence with the answer its quote.

    One question a paragraph is held out, so its paragraph is known at the test and the question is not.
    The paragraphs of the valid split are its own, and none of their questions is held out.

    rounds: so many times each question is trained on, each time beside other documents, which all
    questions of a paragraph then share. drills: so many made by rule join them in each round.
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
    result = SquadRecords(chunks, [], [], 0, 0)
    left_out = repeated = 0
    for paragraph, chunk in zip(paragraphs, chunks, strict=True):
        split = splits[chunk["id"]]
        once = {question_id(chunk["id"], qa[0]): qa for qa in paragraph.qas}
        repeated += len(paragraph.qas) - len(once)
        qas = sorted(once.values(), key=lambda qa: content_id(seed, chunk["id"], qa[0]))
        if split == "train" and len(qas) > 1:
            question, answer, _ = qas.pop()
            row = {"question": question, "answer": answer, "chunk_id": chunk["id"], "source": chunk["source"]}
            result.held_out.append(row)
        spans = list(sentence_spans(paragraph.text))
        asked: list[Draft] = []
        for question, answer, start in qas:
            quote = next(
                (s for begin, end, s in spans if begin <= start and start + len(answer) <= end), None
            )
            if quote is None:
                left_out += 1
                continue
            draft = new_draft(question, chunk["id"], origin="given")
            draft |= {
                "cot_answer": answer_reply(question, quote, answer),
                "final_answer": answer,
                "model": "human",
            }
            asked.append(draft)
        practice = make_drills(chunk, drills * rounds, seed=seed) if split == "train" else []
        for number in range(rounds if split == "train" else 1):
            drafts = asked + practice[number::rounds]
            together = number if rounds > 1 or drills else None
            drawn = pool.draw(drafts, chunk, k=distractors, seed=seed, round=together)
            result.records.extend(
                assemble_records(drafts, chunk, drawn, p=p, seed=seed, split=split, round=number)
            )
    return SquadRecords(chunks, result.records, result.held_out, left_out, repeated)


def write_squad_records(
    result: SquadRecords, out: Path, *, formats: Sequence[str], p: float
) -> dict[str, dict[str, Any]]:
    """Write chunks.jsonl, raft.jsonl, questions.jsonl and the split files, checked; give the latter.

    Raises UserError where the dataset does not pass its checks.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("chunks", result.chunks),
        ("raft", result.records),
        ("questions", result.held_out),
    ):
        write_jsonl(out / f"{name}.jsonl", rows)
    files, _ = make_datasets(out / "raft.jsonl", out, formats=formats, share=p)
    return files
