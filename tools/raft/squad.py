"""Turn questions people answered, in the format of SQuAD, into RAFT records: no model is asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .assemble import Record, assemble_record
from .dataset import make_datasets
from .distract import Distractors, Negatives
from .drill import make_drills
from .errors import UserError
from .guide import answer_reply
from .parse import question_id
from .records import Chunk, Draft, content_id, make_chunk, new_draft
from .sentences import split_sentences
from .splits import assign_splits


@dataclass(frozen=True)
class Paragraph:
    """A text with questions people asked about it."""

    title: str
    text: str
    qas: list[tuple[str, str, int]]  # question, answer, offset of the answer in the text


def read_paragraphs(path: Path) -> list[Paragraph]:
    """Read question-answering data in the format of SQuAD 1.1; raises UserError for another form."""
    try:
        return [
            Paragraph(
                article.get("title", "").replace("_", " "),
                paragraph["context"],
                [
                    (
                        qa["question"].strip(),
                        qa["answers"][0]["text"].strip(),
                        int(qa["answers"][0]["answer_start"]),
                    )
                    for qa in paragraph["qas"]
                    if qa["answers"]
                ],
            )
            for article in json.loads(path.read_text(encoding="utf-8"))["data"]
            for paragraph in article["paragraphs"]
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a file in SQuAD format") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is not in SQuAD format ({type(error).__name__}: {error})") from None


@dataclass(frozen=True)
class Labelled:
    """Records out of people's questions, and the questions kept out of them."""

    chunks: list[Chunk]  # one a paragraph
    records: list[Record]  # train and valid
    held_out: list[dict[str, Any]]  # question, answer, chunk_id, source: for a comparison
    left_out: int  # questions whose answer stands in no single sentence, which cannot be quoted
    repeated: int  # questions asked twice of one paragraph, taken once


def label_people(
    paragraphs: Sequence[Paragraph],
    *,
    distractors: int = 2,
    p: float = 0.9,
    negatives: Negatives = "lexical",
    valid: float = 0.05,
    rounds: int = 1,
    drills: int = 0,
    seed: int = 42,
) -> Labelled:
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
    labelled = Labelled(chunks, [], [], 0, 0)
    left_out = repeated = 0
    for paragraph, chunk in zip(paragraphs, chunks, strict=True):
        split = splits[chunk["id"]]
        once = {question_id(chunk["id"], qa[0]): qa for qa in paragraph.qas}
        repeated += len(paragraph.qas) - len(once)
        qas = sorted(once.values(), key=lambda qa: content_id(seed, chunk["id"], qa[0]))
        if split == "train" and len(qas) > 1:
            question, answer, _ = qas.pop()
            row = {"question": question, "answer": answer, "chunk_id": chunk["id"], "source": chunk["source"]}
            labelled.held_out.append(row)
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
                "model": "people",
            }
            asked.append(draft)
        practice = make_drills(chunk, drills * rounds, seed=seed) if split == "train" else []
        for number in range(rounds if split == "train" else 1):
            drafts = asked + practice[number::rounds]
            together = number if rounds > 1 or drills else None
            drawn = pool.draw(drafts, chunk, k=distractors, seed=seed, round=together)
            labelled.records.extend(
                assemble_record(draft, chunk, found, p=p, seed=seed, split=split, round=number)
                for draft, found in zip(drafts, drawn, strict=True)
            )
    return Labelled(chunks, labelled.records, labelled.held_out, left_out, repeated)


def write_labelled(
    labelled: Labelled, out: Path, *, formats: Sequence[str], p: float
) -> dict[str, dict[str, Any]]:
    """Write chunks.jsonl, raft.jsonl, questions.jsonl and the split files, checked; give the latter.

    Raises UserError where the dataset does not pass its checks.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("chunks", labelled.chunks),
        ("raft", labelled.records),
        ("questions", labelled.held_out),
    ):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
    files, _ = make_datasets(out / "raft.jsonl", out, formats=formats, share=p)
    return files


def sentence_spans(text: str) -> Iterator[tuple[int, int, str]]:
    """Give begin, end and the text, blanks folded, of each sentence."""
    at = 0
    for sentence in split_sentences(text):
        at = text.index(sentence, at)
        yield at, at + len(sentence), " ".join(sentence.split())
        at += len(sentence)
