"""PubMedQA (Jin et al., EMNLP 2019): yes, no or maybe, from an abstract without its conclusion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..evaluate.decisions import decision_macro_f1, read_decision
from ..generate.small_model.grammar import likely_sentences
from ..ingest.chunks import make_chunk
from ..prompts import render
from ..records import Chunk
from ..text.sanitize import sanitize_line
from ..text.sentences import split_sentences
from .data import find_file, need_file, read_rows
from .questions import Collection, Question

_QUESTION = "bench_decision.jinja2"

Row = Mapping[str, Any]


def read_pubmedqa(folder: Path) -> Collection:
    """Read the labelled questions, without the conclusion (`long_answer`), which gives the answer away.

    Files: ori_pqal.json and test_ground_truth.json as published, or pubmedqa.jsonl with `id`, `question`,
    `contexts`, `final_decision` and `split`. Raises UserError if they are missing or of another form.
    """
    documents: dict[str, Chunk] = {}
    questions: dict[str, list[Question]] = {"train": [], "test": []}
    for id, split, question, contexts, decision in _read(folder):
        text = "\n".join(contexts)
        chunk = make_chunk(text, title="", source=f"pubmed {id}", page=None, kind="text", id=f"pubmed-{id}")
        documents[chunk["id"]] = chunk
        asked = sanitize_line(question)
        questions[split].append(
            Question(
                id=id,
                text=render(_QUESTION, question=asked)[0]["content"],
                query=asked,
                answer=decision,
                oracles=(chunk["id"],),
                quotes=(_pick_evidence(chunk["text"], asked),),
                group=id,
            )
        )
    return Collection(documents, questions["test"], questions["train"])


def score_decision(question: Question, row: Row) -> dict[str, float]:
    """Score an answer: whether its decision is right, and whether it decides at all."""
    decision = read_decision(row["answer"])
    return {"accuracy": float(decision == question.answer), "decided": float(decision is not None)}


def summarise_decisions(questions: Sequence[Question], rows: Sequence[Row]) -> dict[str, float]:
    """Compute the macro-averaged F1 of all answers that there are."""
    pairs = [
        (read_decision(row["answer"]), question.answer)
        for question, row in zip(questions, rows, strict=True)
        if not row["error"]
    ]
    if not pairs:
        return {}
    return {"macro_f1": decision_macro_f1([found for found, _ in pairs], [gold for _, gold in pairs])}  # type: ignore[misc]


def _read(folder: Path) -> Iterator[tuple[str, str, str, list[str], str]]:
    """Yield id, split, question, contexts and decision of each question."""
    if path := find_file(folder, "pubmedqa.jsonl"):
        for row in read_rows(path, "id", "split", "question", "contexts", "final_decision"):
            yield row["id"], row["split"], row["question"], row["contexts"], row["final_decision"]
        return
    path = need_file(folder, "ori_pqal.json")
    truth = need_file(folder, "test_ground_truth.json")
    tested = set(read_rows(truth)[0])
    for id, row in read_rows(path)[0].items():
        try:
            fields = row["QUESTION"], row["CONTEXTS"], row["final_decision"]
        except (KeyError, TypeError):
            raise UserError(f"{path}: entry {id} lacks QUESTION, CONTEXTS or final_decision") from None
        yield id, "test" if id in tested else "train", *fields


def _pick_evidence(abstract: str, question: str) -> str:
    """Return the last of the sentences that share most words with the question: a finding, not an aim."""
    return likely_sentences(split_sentences(abstract), question)[-1]
