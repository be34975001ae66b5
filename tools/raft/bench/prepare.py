"""Prepare a fold: RAFT records and DSF rows to train on, and the documents of each question asked."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..choices import Mode
from ..dataset.export import make_datasets
from ..errors import UserError
from ..evaluate.decisions import DECISIONS
from ..files import write_jsonl
from ..generate.assemble import RowOptions, assemble_records
from ..generate.distractors import Distractors, Drawn
from ..prompts import prompt_hash, render
from ..rag.index import Hit, make_hit
from ..rag.search import Retriever
from ..records import Chunk, Draft, Record, Split, new_draft
from .questions import Collection, Fold, Question, asked_documents, training_documents

_ANSWER = "bench_training_answer.jinja2"


@dataclass(frozen=True)
class Setting:
    """How the documents of a question are chosen."""

    distractors: int = 4  # beside the oracle, in training and where the oracle is given
    p: float = 0.8  # probability that a training row has its oracle
    retrieved: int = 0  # documents that a retriever finds at test time; 0: the oracle and distractors
    mode: Mode = "lexical"
    seed: int = 42


def write_training_rows(
    fold: Fold, collection: Collection, folder: Path, setting: Setting
) -> tuple[int, Counter[str]]:
    """Write raft.jsonl and the training files of a fold; return the number of rows, and those left out.

    The rows of both trained arms are the same questions: with documents and evidence for RAFT (chat), the
    answer alone for DSF. Raises UserError if no row is left or the dataset does not pass its checks.
    """
    chunks = training_documents(fold, collection)
    pool = _open_pool(chunks)
    options = RowOptions(setting.distractors, setting.p, setting.seed)
    left_out: Counter[str] = Counter()
    records: list[Record] = []
    seen = set()
    for question in fold.train:
        oracle, *others = (collection.documents[id] for id in question.oracles)
        if not question.quotes:
            left_out["its documents do not hold its evidence"] += 1
            continue
        if (question.text, oracle["id"]) in seen:
            left_out["it stands twice in the training questions"] += 1
            continue
        seen.add((question.text, oracle["id"]))
        draft = _make_draft(question)
        drawn = _draw(pool, question, oracle, others, setting)
        records += assemble_records([draft], oracle, [drawn], options, split="train", others=[others])
    if not records:
        raise UserError(f"{folder}: no question is left to train on")
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "raft.jsonl", records)
    make_datasets(folder / "raft.jsonl", folder, formats=("chat", "dsf"), share=setting.p, order="shuffled")
    return len(records), left_out


def find_documents(folds: Sequence[Fold], collection: Collection, setting: Setting) -> dict[str, list[Hit]]:
    """Find the documents of each question asked, by its id, the same for all arms.

    They are the oracles among hard negatives at random places, as many as in training, or what a retriever
    ranks first.
    """
    chunks = asked_documents(collection)
    questions = [question for fold in folds for question in fold.test]
    if setting.retrieved:
        found = _retrieve(chunks, [question.query for question in questions], setting)
        return {question.id: hits for question, hits in zip(questions, found, strict=True)}
    pool = _open_pool(chunks)
    documents = {}
    for question in questions:
        oracles = [collection.documents[id] for id in question.oracles]
        drawn = _draw(pool, question, oracles[0], oracles[1:], setting)
        chosen = [*oracles, *drawn.chunks[: setting.distractors + 1 - len(oracles)]]
        chosen.sort(key=lambda chunk: chunk["id"])
        random.Random(f"test {setting.seed} {question.id}").shuffle(chosen)
        documents[question.id] = [make_hit(chunk, rank, 0.0) for rank, chunk in enumerate(chosen, start=1)]
    return documents


def _retrieve(chunks: Sequence[Chunk], queries: Sequence[str], setting: Setting) -> list[list[Hit]]:
    embedder = None
    if setting.mode != "lexical":
        from ..models.embed import Embedder

        embedder = Embedder()
    rankings = Retriever(chunks, setting.mode, embedder).search(queries, setting.retrieved)
    return [
        [make_hit(chunks[position], rank, 0.0) for rank, position in enumerate(ranking, start=1)]
        for ranking in rankings
    ]


def _open_pool(chunks: Sequence[Chunk]) -> Distractors:
    splits: dict[str, Split] = {chunk["id"]: "train" for chunk in chunks}
    return Distractors(chunks, splits, "lexical")


def _draw(
    pool: Distractors, question: Question, oracle: Chunk, others: Sequence[Chunk], setting: Setting
) -> Drawn:
    """Draw the distractors of a question by the words that documents are searched by.

    A document that has the word "no" does not answer a question whose answer that is.
    """
    draft = new_draft(question.query, oracle["id"], origin="given")
    draft["final_answer"] = "" if question.answer in DECISIONS else question.answer
    [drawn] = pool.draw([draft], oracle, k=setting.distractors, seed=setting.seed, others=[others])
    return drawn


def _make_draft(question: Question) -> Draft:
    """Return the draft of a question, its answer made by rule from its evidence."""
    draft = new_draft(question.text, question.oracles[0], origin="given")
    answer = render(_ANSWER, quotes=question.quotes, answer=question.answer)[0]["content"]
    if len(question.oracles) > 1:
        draft["other_chunk_ids"] = list(question.oracles[1:])
    return {
        **draft,
        "cot_answer": answer,
        "final_answer": question.answer,
        "model": "rule",
        "prompt_hash": prompt_hash(_ANSWER),
    }
