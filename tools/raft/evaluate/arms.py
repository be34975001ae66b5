"""Ask the same questions of several arms: the models and prompts that are compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..errors import UserError
from ..models.client import Client
from ..rag.answer import Prompt, Row, answer_questions
from ..rag.follow_up import resolve_question
from ..rag.search import Mode
from ..records import content_id
from ..text.answers import holds_answer
from .score import Gold, from_oracle

if TYPE_CHECKING:
    from ..rag.index import Hit, Index

Role = Literal["baseline", "dsf", "raft"]
_BATCH = 64  # questions looked up at a time


@dataclass(frozen=True)
class Arm:
    """One way to answer: whose model, what it is told, and whether it sees documents."""

    name: str
    role: Role
    prompt: Prompt
    with_documents: bool


# As in the RAFT paper (Zhang et al. 2024, arXiv 2403.10131, section 3), and the few-shot prompt.
ARMS = {
    arm.name: arm
    for arm in (
        Arm("closed_book", "baseline", "closed_book", False),
        Arm("few_shot", "baseline", "few_shot", True),
        Arm("rag", "baseline", "chain_of_thought", True),
        Arm("dsf", "dsf", "closed_book", False),
        Arm("dsf_rag", "dsf", "chain_of_thought", True),
        Arm("raft", "raft", "chain_of_thought", True),
    )
}


def choose_arms(names: Sequence[str], roles: Sequence[str]) -> list[Arm]:
    """Give the arms of these names, each model of which is there; raises UserError for others."""
    if unknown := [name for name in names if name not in ARMS]:
        raise UserError(f"there is no arm {unknown[0]!r}: known are {', '.join(ARMS)}")
    chosen = [ARMS[name] for name in dict.fromkeys(names)]
    for arm in chosen:
        if arm.role not in roles:
            raise UserError(f"the arm {arm.name} needs a model: name it with --{arm.role}")
    if len(chosen) < 2:
        raise UserError("a comparison needs at least two arms, such as --arms rag,raft")
    return chosen


def question_ids(questions: Sequence[Row]) -> list[str]:
    """Give each question its id: its own, or one made of all that its row says.

    Raises UserError where two have the same, as answers are joined by it.
    """
    ids: dict[str, int] = {}
    for number, row in enumerate(questions, start=1):
        own = row.get("id")
        text = json.dumps(row, ensure_ascii=False, sort_keys=True)
        id = str(own) if own not in (None, "") else content_id("question", text)
        if id in ids:
            raise UserError(f"questions {ids[id]} and {number} are the same (id {id}): leave one out")
        ids[id] = number
    return list(ids)


def find_documents(
    questions: Sequence[Row],
    index: Index,
    k: int,
    mode: Mode,
    on_done: Callable[[int], None] = lambda n: None,
) -> list[list[Hit]]:
    """Look up the documents of every question once, so that all arms get the same."""
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
    before: Mapping[str, Row] | None = None,
    on_answer: Callable[[], None] | None = None,
) -> list[Row]:
    """Ask one arm all the questions: a row for each, in order, those that failed with their `error`.

    `before` are rows of an earlier run by id: a reply out of the cache keeps the time it once took.
    """
    given = documents if arm.with_documents else [()] * len(questions)
    answers = await answer_questions(
        questions, None, client, prompt=arm.prompt, documents=given, on_answer=on_answer
    )
    rows = []
    for id, row, seconds in zip(ids, answers.rows, answers.seconds, strict=True):
        earlier = (before or {}).get(id) or {}
        if seconds is None and earlier.get("answer") == row["answer"] and not row["error"]:
            seconds = earlier.get("seconds")
        rows.append({"id": id, "arm": arm.name, **row, "seconds": seconds})
    return rows


def with_distractors(hits: Sequence[Hit], gold: Gold, counts: Sequence[int], id: str) -> list[list[Hit]]:
    """Give for each count the oracle among so many distractors, the best-ranked hits beside it.

    With a growing count the distractors before stay, so that only their number differs. The oracle stands
    at a place drawn uniformly, as in training, the same each time. A hit that holds a gold answer
    is no distractor. Empty where the oracle is not among the hits, or there are too few others.
    """
    oracle = next((hit for hit in hits if from_oracle(hit, gold)), None)
    others = _others(hits, gold)
    if oracle is None or len(others) < max(counts):
        return []
    given = []
    for count in counts:
        digest = hashlib.sha256(f"place {id} {count}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") % (count + 1)
        given.append([*others[:place], oracle, *others[place:count]])
    return given


def without_oracle(hits: Sequence[Hit], gold: Gold, k: int) -> list[Hit]:
    """Give the k best-ranked hits that are not the oracle and hold no gold answer.

    Empty where the oracle is not known, or there are too few.
    """
    others = _others(hits, gold)[:k] if gold.relevant else []
    return others if len(others) == k else []


def _others(hits: Sequence[Hit], gold: Gold) -> list[Hit]:
    """Give the hits that can be distractors: not of the oracle, and without the answer."""
    return [
        hit
        for hit in hits
        if not from_oracle(hit, gold)
        and not any(holds_answer(hit["text"], answer) for answer in gold.answers or ())
    ]


def sample(ids: Sequence[str], size: int, seed: int) -> list[int]:
    """Draw positions of questions by a hash of seed and id, in order."""
    order = sorted(range(len(ids)), key=lambda at: hashlib.sha256(f"{seed} {ids[at]}".encode()).digest())
    return sorted(order[:size])
