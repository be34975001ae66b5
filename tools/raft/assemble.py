"""Assemble RAFT records: the question, k + 1 documents, and an answer that quotes the oracle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, TypedDict

from .errors import UserError
from .parse import parse_answer, question_id
from .prompts import render
from .records import Chunk, Draft
from .splits import Split

NoOracle = Literal["keep", "refuse"]


class Context(TypedDict):
    """The documents of a record, nested once as in the reference implementation's format."""

    title: list[list[str]]
    sentences: list[list[str]]


class Record(TypedDict):
    """One row of a RAFT dataset (Zhang et al. 2024, arXiv 2403.10131).

    The keys down to `instruction` are the reference implementation's.
    """

    id: str
    type: Literal["general", "api call"]
    question: str
    context: Context
    oracle_context: str
    cot_answer: str
    instruction: str
    final_answer: str
    has_oracle: bool
    oracle_index: int | None
    chunk_id: str
    distractor_ids: list[str]
    source: str
    page: int | None
    split: Split
    origin: str
    model: str
    seed: int
    prompt_hash: str


def assemble_record(
    draft: Draft,
    oracle: Chunk,
    distractors: Sequence[Chunk],
    *,
    p: float,
    seed: int,
    split: Split,
    no_oracle: NoOracle = "keep",
    round: int = 0,
) -> Record:
    """Assemble one record from a verified draft, its oracle and k + 1 distractors.

    With probability p the oracle stands among the first k distractors at a uniformly random place;
    else all k + 1 distractors stand there, and the label is still the oracle's answer, or a refusal
    with `no_oracle="refuse"`. A drill always has its oracle. The draw depends on the seed and the row
    alone; the order of the documents on seed and documents, so that rows about the same ones begin alike
    and a trainer can compute that beginning once. round: counts the records of one draft, each with other
    distractors.
    """
    again = (round,) if round else ()
    name = " ".join(map(str, ("record", seed, oracle["id"], draft["question"], *again)))
    # A drill is its oracle with a gap: without it there is nothing to find.
    has_oracle = draft["origin"] == "drill" or random.Random(name).random() < p
    # The last distractor drawn is the weakest of a ranking: it gives way.
    documents = [oracle, *distractors[:-1]] if has_oracle else list(distractors)
    documents.sort(key=lambda document: document["id"])
    random.Random(f"order {seed} {[document['id'] for document in documents]}").shuffle(documents)
    cot_answer, final_answer = draft["cot_answer"], draft["final_answer"]
    if not has_oracle and no_oracle == "refuse":
        cot_answer = refusal()
        final_answer = cot_answer.rpartition("<ANSWER>:")[2].strip()
    return {
        "id": question_id(oracle["id"], draft["question"], *again),
        "type": "api call" if oracle["kind"] == "api" else "general",
        "question": draft["question"],
        "context": {
            "title": [[document["title"] for document in documents]],
            "sentences": [[document["text"] for document in documents]],
        },
        "oracle_context": oracle["text"],
        "cot_answer": cot_answer,
        "instruction": format_instruction([document["text"] for document in documents], draft["question"]),
        "final_answer": final_answer,
        "has_oracle": has_oracle,
        "oracle_index": documents.index(oracle) if has_oracle else None,
        "chunk_id": oracle["id"],
        "distractor_ids": [document["id"] for document in documents if document is not oracle],
        "source": oracle["source"],
        "page": oracle["page"],
        "split": split,
        "origin": draft["origin"],
        "model": draft["model"],
        "seed": seed,
        "prompt_hash": draft["prompt_hash"],
    }


def format_instruction(documents: Sequence[str], question: str) -> str:
    """Format documents and question as the model sees them, in training and at inference."""
    return "".join(f"<DOCUMENT>{document}</DOCUMENT>\n" for document in documents) + question


def refusal() -> str:
    """Give the label of a row that is to be refused, from prompts/refusal.jinja2."""
    text = render("refusal.jinja2")[0]["content"]
    answer = parse_answer(text)
    if isinstance(answer, str):
        raise UserError(
            f"prompts/refusal.jinja2: {answer}; end it with a line such as '<ANSWER>: I do not know.'"
        )
    return answer.text
