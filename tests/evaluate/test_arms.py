"""The arms of a comparison: their prompts, and the documents they get."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.rag.test_answer import hit
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.errors import UserError
from tools.raft.evaluate.arms import (
    ARMS,
    ask_arm,
    choose_arms,
    question_ids,
    sample,
    with_distractors,
    without_oracle,
)
from tools.raft.evaluate.score import Gold
from tools.raft.models.client import Client
from tools.raft.models.endpoint import Endpoint


def test_the_arms_are_those_of_the_paper() -> None:
    assert [ARMS[name].prompt for name in ("rag", "student", "dsf_rag", "raft")] == ["chain_of_thought"] * 4
    assert [name for name, arm in ARMS.items() if not arm.with_documents] == ["closed_book", "dsf"]
    assert [arm.name for arm in choose_arms(["rag", "raft"], ["baseline", "raft"])] == ["rag", "raft"]
    for names, roles, message in (
        (["rag", "best"], ["baseline"], "unknown arm 'best'"),
        (["rag", "dsf"], ["baseline"], "needs a model: pass --dsf"),
        (["rag", "student"], ["baseline", "raft"], "needs a model: pass --student"),
        (["rag"], ["baseline"], "at least two arms"),
    ):
        with pytest.raises(UserError, match=message):
            choose_arms(names, roles)


def test_questions_are_joined_by_id() -> None:
    rows = [
        {"question": "Who?", "source": "a"},
        {"question": "Who?", "source": "b"},
        {"id": 7, "question": "Who?"},
    ]
    ids = question_ids(rows)
    assert len(set(ids)) == 3
    assert ids[2] == "7"
    assert ids == question_ids(json.loads(json.dumps(rows)))
    with pytest.raises(UserError, match="questions 1 and 4 have the same id"):
        question_ids([*rows, rows[0]])


def test_distractors_are_added_around_the_oracle() -> None:
    hits = [hit(f"Text {rank}.", rank=rank, source=f"{rank}.txt") for rank in range(1, 20)]
    hits[2]["text"] = "So it is fish, all the same."
    gold = Gold(("fish",), frozenset({"5.txt"}))
    positions = set()
    for id in map(str, range(40)):
        by_count = with_distractors(hits, gold, (0, 1, 10), id)
        assert [len(documents) for documents in by_count] == [1, 2, 11]
        sources = [[document["source"] for document in documents] for documents in by_count]
        assert all(row.count("5.txt") == 1 for row in sources)
        assert "3.txt" not in sources[2], "a document that contains the answer is not a distractor"
        assert [source for source in sources[2] if source != "5.txt"][:3] == ["1.txt", "2.txt", "4.txt"]
        assert set(sources[1]) <= set(sources[2])
        positions.add(sources[2].index("5.txt"))
    assert len(positions) > 8
    assert with_distractors(hits, Gold(("fish",), frozenset({"99.txt"})), (0,), "1") == []
    assert with_distractors(hits[4:6], gold, (0, 5), "1") == []


def test_distractors_are_added_around_all_oracles_that_are_needed() -> None:
    hits = [hit(f"Text {rank}.", rank=rank, source=f"{rank}.txt") for rank in range(1, 20)]
    gold = Gold(("fish",), frozenset({"5.txt", "9.txt"}), oracles=("5.txt", "9.txt"))
    places = set()
    for id in map(str, range(300)):
        by_count = with_distractors(hits, gold, (0, 2), id)
        sources = [[document["source"] for document in documents] for documents in by_count]
        assert [len(row) for row in sources] == [2, 4]
        assert all(row.count("5.txt") == row.count("9.txt") == 1 for row in sources)
        places.add((sources[1].index("5.txt"), sources[1].index("9.txt")))
    assert len(places) == 12, "every order occurs"
    assert with_distractors(hits[:8], gold, (0, 2), "1") == [], "one of them is not found"
    assert {document["source"] for document in without_oracle(hits, gold, 17)} == {
        f"{rank}.txt" for rank in range(1, 20) if rank not in (5, 9)
    }


def test_without_the_oracle_no_document_contains_the_answer() -> None:
    hits = [hit(f"Text {rank}.", rank=rank, source=f"{rank}.txt") for rank in range(1, 8)]
    hits[2]["text"] = "So it is fish, all the same."
    gold = Gold(("fish",), frozenset({"2.txt"}))
    assert [document["source"] for document in without_oracle(hits, gold, 3)] == ["1.txt", "4.txt", "5.txt"]
    assert without_oracle(hits, gold, 6) == [], "too few are left"
    assert without_oracle(hits, Gold(("fish",)), 3) == [], "the oracle is unknown"


def test_a_sample_is_deterministic() -> None:
    ids = [str(number) for number in range(50)]
    assert sample(ids, 10, 1) == sample(ids, 10, 1) != sample(ids, 10, 2)
    assert sample(ids, 99, 1) == list(range(50))


def test_cache_hits_keep_the_time_of_the_original_call(tmp_path: Path) -> None:
    questions = [{"question": "What do otters eat?"}, {"question": "What do herons do?"}]
    documents = [[hit("Otters eat fish.")], [hit("Herons stand still.")]]

    async def ask(before: Any = None) -> list[dict[str, Any]]:
        async with Client(
            Endpoint(base_url=endpoint.url, model="m"), cache_dir=tmp_path, attempts=1
        ) as client:
            return await ask_arm(ARMS["raft"], questions, ["1", "2"], documents, client, before=before)

    with scripted_endpoint(latency=0.05, block="herons") as endpoint:
        rows = asyncio.run(ask())
        again = asyncio.run(ask({row["id"]: row for row in rows}))
        unknown = asyncio.run(ask())
    assert rows[0]["seconds"] >= 0.05
    assert rows[0]["prompt_tokens"] > 0
    assert rows[0]["documents"] == documents[0]
    assert "content filter" in rows[1]["error"]
    assert rows[1]["seconds"] is None
    assert again[0]["seconds"] == rows[0]["seconds"]
    assert unknown[0]["seconds"] is None


# The gold answer, a document that contains it, and one that does not: scripts without spaces, and one with endings.
HOLDING = [
    ("十五名法官", "最高法院设在首都，共有十五名法官。", "最高法院设在首都，法官由总统任命。"),
    (
        "十五人の裁判官",
        "最高裁判所は首都にあり、十五人の裁判官がいる。",
        "最高裁判所は首都にあり、長官は内閣が指名する。",
    ),
    ("ตลาดสด", "เขาขายปลากลางตลาดสดทุกวัน", "เขาขายปลาทุกวัน"),
    ("부산", "대법원은 부산에 있다.", "대법원은 수도에 있다."),
]


@pytest.mark.parametrize(("answer", "holding", "other"), HOLDING)
def test_a_document_that_contains_the_answer_is_not_a_distractor_in_any_script(
    answer: str, holding: str, other: str
) -> None:
    hits = [
        hit(text, rank=rank, source=f"{rank}.txt") for rank, text in enumerate((holding, "x", other), start=1)
    ]
    gold = Gold((answer,), frozenset({"2.txt"}))
    assert [document["text"] for document in without_oracle(hits, gold, 1)] == [other]
    assert without_oracle(hits, gold, 2) == [], "the document with the answer is left out"
    (documents,) = with_distractors(hits, gold, (1,), "1")
    assert sorted(document["text"] for document in documents) == sorted(["x", other])
