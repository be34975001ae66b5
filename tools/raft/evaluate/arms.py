"""The arms of a comparison, and the questions and documents that each of them gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..choices import Mode, Prompt, Quotes
from ..errors import UserError
from ..models.client import Client
from ..rag.answer import REPLY_TOKENS, Row, answer_questions
from ..rag.follow_up import resolve_question
from ..records import content_id
from ..text.answers import holds_answer
from .score import Gold, from_oracle

if TYPE_CHECKING:
    from ..rag.answerability import Answerability
    from ..rag.focus import Focus
    from ..rag.index import Hit, Index

Role = Literal["baseline", "student", "dsf", "raft"]
_BATCH = 64  # questions per search


@dataclass(frozen=True)
class Arm:
    """One way to answer: which model, with which prompt, and with or without documents."""

    name: str
    role: Role
    prompt: Prompt
    with_documents: bool


# As in the RAFT paper (Zhang et al. 2024, arXiv 2403.10131, section 3), and two more: the few-shot prompt,
# and a student tuned on RAFT rows of other documents, which shows what tuning on these documents adds.
ARMS = {
    arm.name: arm
    for arm in (
        Arm("closed_book", "baseline", "closed_book", False),
        Arm("few_shot", "baseline", "few_shot", True),
        Arm("rag", "baseline", "chain_of_thought", True),
        Arm("student", "student", "chain_of_thought", True),
        Arm("dsf", "dsf", "closed_book", False),
        Arm("dsf_rag", "dsf", "chain_of_thought", True),
        Arm("raft", "raft", "chain_of_thought", True),
    )
}


def choose_arms(names: Sequence[str], roles: Sequence[str]) -> list[Arm]:
    """Return the arms with these names; raises UserError for an unknown arm or one without a model."""
    if unknown := [name for name in names if name not in ARMS]:
        raise UserError(f"unknown arm {unknown[0]!r}: choose one of {', '.join(ARMS)}")
    chosen = [ARMS[name] for name in dict.fromkeys(names)]
    for arm in chosen:
        if arm.role not in roles:
            raise UserError(f"arm {arm.name} needs a model: pass --{arm.role}")
    if len(chosen) < 2:
        raise UserError("a comparison needs at least two arms, such as --arms rag,raft")
    return chosen


def question_ids(questions: Sequence[Row]) -> list[str]:
    """Return the id of each question: its own, or a hash of its row.

    Raises UserError if two questions have the same id, because answers are joined by it.
    """
    ids: dict[str, int] = {}
    for number, row in enumerate(questions, start=1):
        own = row.get("id")
        text = json.dumps(row, ensure_ascii=False, sort_keys=True)
        id = str(own) if own not in (None, "") else content_id("question", text)
        if id in ids:
            raise UserError(f"questions {ids[id]} and {number} have the same id {id}: remove one")
        ids[id] = number
    return list(ids)


def find_documents(
    questions: Sequence[Row],
    index: Index,
    k: int,
    mode: Mode,
    on_done: Callable[[int], None] = lambda n: None,
) -> list[list[Hit]]:
    """Retrieve the documents of every question once, so that all arms get the same ones."""
    found: list[list[Hit]] = []
    for start in range(0, len(questions), _BATCH):
        batch = questions[start : start + _BATCH]
        queries = [
            resolve_question(str(row["question"]), row.get("chat_history") or ()).query for row in batch
        ]
        found += index.search(queries, k, mode) if k else [[] for _ in batch]
        on_done(len(batch))
    return found


async def ask_arm(
    arm: Arm,
    questions: Sequence[Row],
    ids: Sequence[str],
    documents: Sequence[Sequence[Hit]],
    client: Client,
    *,
    focus: Focus | None = None,
    answerability: Answerability | None = None,
    quotes: Quotes = "free",
    max_tokens: int = REPLY_TOKENS,
    before: Mapping[str, Row] | None = None,
    on_answer: Callable[[Row], None] = lambda row: None,
) -> list[Row]:
    """Ask one arm all the questions; return a row for each, in order, with an `error` if the call failed.

    `focus` cuts the documents to their best sentences, `answerability` refuses questions without evidence.
    `before` holds the rows of an earlier run by id: a cache hit keeps the time the call originally took.
    """
    shown = documents if arm.with_documents else [()] * len(questions)
    answers = await answer_questions(
        questions,
        None,
        client,
        prompt=arm.prompt,
        documents=shown,
        focus=focus if arm.with_documents else None,
        answerability=answerability if arm.with_documents else None,
        quotes=quotes,
        max_tokens=max_tokens,
        on_answer=on_answer,
    )
    rows = []
    for id, row, seconds in zip(ids, answers.rows, answers.seconds, strict=True):
        earlier = (before or {}).get(id) or {}
        if seconds is None and earlier.get("answer") == row["answer"] and not row["error"]:
            seconds = earlier.get("seconds")
        rows.append({"id": id, "arm": arm.name, **row, "seconds": seconds})
    return rows


def with_distractors(hits: Sequence[Hit], gold: Gold, counts: Sequence[int], id: str) -> list[list[Hit]]:
    """Return, for each count, the oracle among that many distractors, taken from the best-ranked hits.

    A larger count keeps the distractors of the smaller ones, so that only their number differs. The oracle's
    position is drawn uniformly, as in training, and deterministically. A hit that contains a gold answer is
    not a distractor. Where several oracles are needed, all are added. Empty if the oracle is not among the
    hits, or if there are too few distractors.
    """
    oracles = _oracles(hits, gold)
    others = _distractors(hits, gold)
    if not oracles or len(others) < max(counts):
        return []
    documents = []
    for count in counts:
        shown = others[:count]
        for number, oracle in enumerate(oracles):
            label = f"place {id} {count}" + (f" {number}" if number else "")
            digest = hashlib.sha256(label.encode()).digest()
            position = int.from_bytes(digest[:8], "big") % (len(shown) + 1)
            shown = [*shown[:position], oracle, *shown[position:]]
        documents.append(shown)
    return documents


def _oracles(hits: Sequence[Hit], gold: Gold) -> list[Hit]:
    """Return the best-ranked hit from the oracle, or from each that is needed; empty if one has none."""
    best: dict[str, Hit] = {}
    for hit in hits:
        for name in (hit["id"], hit["source"]):
            best.setdefault(name, hit)
    if not gold.oracles:
        return [hit for hit in hits if from_oracle(hit, gold)][:1]
    found = [best[name] for name in gold.oracles if name in best]
    return list({hit["id"]: hit for hit in found}.values()) if len(found) == len(gold.oracles) else []


def without_oracle(hits: Sequence[Hit], gold: Gold, k: int) -> list[Hit]:
    """Return the k best-ranked hits that are not from the oracle and contain no gold answer.

    Empty if the oracle is unknown, or if there are fewer than k.
    """
    others = _distractors(hits, gold)[:k] if gold.relevant else []
    return others if len(others) == k else []


def _distractors(hits: Sequence[Hit], gold: Gold) -> list[Hit]:
    """Return the hits that can be distractors: not from the oracle, and without a gold answer."""
    return [
        hit
        for hit in hits
        if not from_oracle(hit, gold)
        and not any(holds_answer(hit["text"], answer) for answer in gold.answers or ())
    ]


def sample(ids: Sequence[str], size: int, seed: int) -> list[int]:
    """Draw `size` positions of questions by a hash of seed and id; return them in ascending order."""
    order = sorted(range(len(ids)), key=lambda i: hashlib.sha256(f"{seed} {ids[i]}".encode()).digest())
    return sorted(order[:size])
