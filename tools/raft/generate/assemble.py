"""Assemble RAFT records: the question, k + 1 documents, and an answer that quotes the oracle, or several."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..choices import NoOracle, Order
from ..errors import UserError
from ..raft_format import QUOTE, format_instruction, refusal
from ..records import ORACLE_GAP, Chunk, Draft, Record, Split, question_id

if TYPE_CHECKING:
    from ..rag.focus import Focus
    from .distractors import Drawn


@dataclass(frozen=True)
class RowOptions:
    """How records are assembled from drafts."""

    k: int  # distractors beside the oracle
    p: float  # probability that the oracle is among the documents
    seed: int
    no_oracle: NoOracle = "keep"
    order: Order = "shuffled"
    focus: Focus | None = None  # cuts the documents to their best sentences, as at inference


def assemble_records(
    drafts: Sequence[Draft],
    oracle: Chunk,
    drawn: Sequence[Drawn],
    options: RowOptions,
    *,
    split: Split,
    round: int = 0,
    others: Sequence[Sequence[Chunk]] = (),
) -> list[Record]:
    """Assemble one record from each verified draft about a chunk and the k + 1 distractors drawn for it.

    With probability p the documents are the oracle, at a uniformly random position or where the retriever
    ranks it, and the first k distractors; otherwise they are all k + 1 distractors, and the label is still
    the oracle's answer, or a refusal with `no_oracle="refuse"`. A drill that is not to be refused always has
    its oracle, and so has a row whose last distractor is the oracle, since no other chunk is left. Whether
    the oracle is included depends only on the seed and the row; the random order of the documents only on the
    seed and the documents, so that rows with the same documents share a prefix, which a trainer can compute
    once. round: number of these records among those of the same drafts, each with other distractors. With a
    focus, only the instruction has the documents cut; the oracle's sentences that the answer quotes are
    always kept.

    others: the further oracles of each draft, if any has some. With h oracles in all, the documents are these
    and the first k + 1 - h distractors, or k + 1 distractors: prompts keep their length, and a row never has
    only a part of what its answer needs. Raises UserError if a draft has more than k + 1 oracles.
    """
    oracles = [(oracle, *further) for further in others or [()] * len(drafts)]
    documents = [
        _choose_documents(draft, own, distractors, options, round)
        for draft, own, distractors in zip(drafts, oracles, drawn, strict=True)
    ]
    texts = [[document["text"] for document in row] for row in documents]
    if options.focus is not None:
        questions = [draft["question"] for draft in drafts]
        quotes = [QUOTE.findall(draft["cot_answer"]) for draft in drafts]
        texts = options.focus.excerpts(questions, texts, keep=quotes)
    return [
        _assemble(draft, own, row, shown, options, split, round)
        for draft, own, row, shown in zip(drafts, oracles, documents, texts, strict=True)
    ]


def _choose_documents(
    draft: Draft, oracles: tuple[Chunk, ...], drawn: Drawn, options: RowOptions, round: int
) -> list[Chunk]:
    """Return the documents of a record in their order, with all of its oracles or without any."""
    if len(oracles) > options.k + 1:
        raise UserError(
            f"{len(oracles)} oracles do not fit into {options.k + 1} documents: raise --distractors to "
            f"{len(oracles) - 1} or more"
        )
    distractors = drawn.chunks
    first = oracles[0]["id"]
    label = " ".join(map(str, ("record", options.seed, first, draft["question"], *_suffix(round))))
    # A drill is a sentence of its oracle with a gap: without the oracle it can only be refused.
    drilled = draft["origin"] == "drill" and options.no_oracle == "keep"
    kept = drilled or distractors[-1] in oracles
    has_oracle = kept or random.Random(label).random() < options.p
    documents = distractors
    if has_oracle:
        # The last distractors drawn are the weakest of a ranking, so the oracles replace these.
        documents = distractors[: len(distractors) - len(oracles)]
        places = (drawn.place, *drawn.other_places)
        for place, oracle in sorted(zip(places, oracles, strict=True), key=lambda pair: pair[0]):
            documents = [*documents[:place], oracle, *documents[place:]]
    if options.order == "ranked":
        return documents
    documents = sorted(documents, key=lambda document: document["id"])
    random.Random(f"order {options.seed} {[document['id'] for document in documents]}").shuffle(documents)
    return documents


def _suffix(round: int) -> tuple[int, ...]:
    return (round,) if round else ()


def _assemble(
    draft: Draft,
    oracles: tuple[Chunk, ...],
    documents: Sequence[Chunk],
    shown: Sequence[str],
    options: RowOptions,
    split: Split,
    round: int,
) -> Record:
    oracle = oracles[0]
    has_oracle = oracle in documents
    cot_answer, final_answer = draft["cot_answer"], draft["final_answer"]
    if not has_oracle and options.no_oracle == "refuse":
        refused = refusal()
        cot_answer, final_answer = refused.text, refused.final
    record: Record = {
        "id": question_id(oracle["id"], draft["question"], *_suffix(round)),
        "type": "api call" if oracle["kind"] == "api" else "general",
        "question": draft["question"],
        "context": {
            "title": [[document["title"] for document in documents]],
            "sentences": [[document["text"] for document in documents]],
        },
        "oracle_context": ORACLE_GAP.join(oracle["text"] for oracle in oracles),
        "cot_answer": cot_answer,
        "instruction": format_instruction(shown, draft["question"]),
        "final_answer": final_answer,
        "has_oracle": has_oracle,
        "oracle_index": documents.index(oracle) if has_oracle else None,
        "chunk_id": oracle["id"],
        "distractor_ids": [document["id"] for document in documents if document not in oracles],
        "source": oracle["source"],
        "page": oracle["page"],
        "split": split,
        "origin": draft["origin"],
        "model": draft["model"],
        "seed": options.seed,
        "prompt_hash": draft["prompt_hash"],
    }
    if len(oracles) > 1:
        record["oracle_indices"] = [documents.index(own) for own in oracles] if has_oracle else None
        record["oracle_ids"] = [own["id"] for own in oracles]
    return record
