"""Assemble RAFT records: the question, k + 1 documents, and an answer that quotes the oracle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..choices import NoOracle
from ..raft_format import QUOTE, format_instruction, refusal
from ..records import Chunk, Draft, Record, Split, question_id

if TYPE_CHECKING:
    from ..rag.focus import Focus


@dataclass(frozen=True)
class RowOptions:
    """How records are assembled from drafts."""

    k: int  # distractors beside the oracle
    p: float  # probability that the oracle is among the documents
    seed: int
    no_oracle: NoOracle = "keep"
    focus: Focus | None = None  # cuts the documents to their best sentences, as at inference


def assemble_record(
    draft: Draft,
    oracle: Chunk,
    distractors: Sequence[Chunk],
    options: RowOptions,
    *,
    split: Split,
    round: int = 0,
) -> Record:
    """Assemble one record from a verified draft, its oracle and k + 1 distractors.

    With probability p the documents are the oracle, at a uniformly random position, and the first k
    distractors; otherwise they are all k + 1 distractors, and the label is still the oracle's answer, or
    a refusal with `no_oracle="refuse"`. A drill always has its oracle, and so has a row whose last distractor
    is the oracle, since no other chunk is left. Whether the oracle is included
    depends only on the seed and the row; the order of the documents only on the seed and the documents,
    so that rows with the same documents share a prefix, which a trainer can compute once. round: number
    of this record among those of the same draft, each with other distractors. With a focus, only the
    instruction has the documents cut; the oracle's sentences that the answer quotes are always kept.
    """
    p, seed = options.p, options.seed
    suffix = (round,) if round else ()
    label = " ".join(map(str, ("record", seed, oracle["id"], draft["question"], *suffix)))
    # A drill is a sentence of its oracle with a gap: without the oracle there is nothing to find.
    kept = draft["origin"] == "drill" or distractors[-1]["id"] == oracle["id"]
    has_oracle = kept or random.Random(label).random() < p
    # The last distractor drawn is the weakest of a ranking, so the oracle replaces that one.
    documents = [oracle, *distractors[:-1]] if has_oracle else list(distractors)
    documents.sort(key=lambda document: document["id"])
    random.Random(f"order {seed} {[document['id'] for document in documents]}").shuffle(documents)
    cot_answer, final_answer = draft["cot_answer"], draft["final_answer"]
    if not has_oracle and options.no_oracle == "refuse":
        refused = refusal()
        cot_answer, final_answer = refused.text, refused.final
    shown = texts = [document["text"] for document in documents]
    if options.focus is not None:
        quotes = QUOTE.findall(draft["cot_answer"]) if has_oracle else ()
        (shown,) = options.focus.excerpts([draft["question"]], [texts], keep=[quotes])
    return {
        "id": question_id(oracle["id"], draft["question"], *suffix),
        "type": "api call" if oracle["kind"] == "api" else "general",
        "question": draft["question"],
        "context": {
            "title": [[document["title"] for document in documents]],
            "sentences": [texts],
        },
        "oracle_context": oracle["text"],
        "cot_answer": cot_answer,
        "instruction": format_instruction(shown, draft["question"]),
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


def assemble_records(
    drafts: Sequence[Draft],
    oracle: Chunk,
    drawn: Sequence[Sequence[Chunk]],
    options: RowOptions,
    *,
    split: Split,
    round: int = 0,
) -> list[Record]:
    """Assemble one record from each verified draft about a chunk and the distractors drawn for it."""
    return [
        assemble_record(draft, oracle, distractors, options, split=split, round=round)
        for draft, distractors in zip(drafts, drawn, strict=True)
    ]
