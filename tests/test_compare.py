"""A comparison: arms joined by id, what is missing said first, costs, and the command that makes it."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.scripted_endpoint import scripted_endpoint
from tests.test_chat import hit
from tools.raft.arm_cost import cost_arm, pay_back
from tools.raft.arms import ARMS, ask_arm, choose_arms, identify, sample, with_distractors, without_oracle
from tools.raft.client import Client
from tools.raft.compare import compare_arms, question_type, slices_of
from tools.raft.cost import Price
from tools.raft.endpoint import Endpoint
from tools.raft.errors import UserError
from tools.raft.score import Gold, Scores

ROOT = Path(__file__).parent.parent


# Means, differences, slices


def test_46_percent_missing_stands_at_the_top_and_in_every_count() -> None:
    rag: list[Scores] = [{"f1": 0.5} for _ in range(100)]
    raft: list[Scores] = [{"f1": None if at < 46 else 0.75} for at in range(100)]
    told = compare_arms({"rag": rag, "raft": raft}, baseline="rag", errors={"rag": 0, "raft": 46})
    assert told["questions"] == 100
    assert told["warnings"][0].startswith("46% of the answers of raft are missing (46 of 100 calls failed)")
    assert "54 questions" in told["warnings"][0]
    mean = told["arms"]["raft"]["f1"]
    assert (mean["n"], mean["missing"], mean["mean"]) == (54, 46, 0.75)
    found = told["contrasts"]["raft"]["f1"]
    assert (found["pairs"], found["missing"], found["difference"]) == (54, 46, 0.25)
    low, high = found["bounds"]
    assert low == pytest.approx(0.54 * 0.25 - 0.46 * 0.5), "had every missing answer been wrong"
    assert high == pytest.approx(0.54 * 0.25 + 0.46 * 0.5)


def test_what_does_not_apply_is_not_missing() -> None:
    rows: list[Scores] = [
        {"f1": 1.0},
        {"f1": 0.0, "quotes_verbatim": 1.0},
        {"f1": None, "quotes_verbatim": None},
    ]
    told = compare_arms({"a": rows, "b": rows}, baseline="a")
    mean = told["arms"]["a"]["quotes_verbatim"]
    assert (mean["n"], mean["missing"], mean["inapplicable"]) == (1, 1, 1)
    assert told["arms"]["a"]["f1"]["inapplicable"] == 0
    assert told["contrasts"]["b"]["quotes_verbatim"]["missing"] == 1
    only_a: list[Scores] = [{"f1": 1.0, "quoted": 1.0}] * 3
    assert "quoted" not in compare_arms({"a": only_a, "b": rows}, baseline="a")["arms"]["b"]


def test_intervals_keep_to_what_a_score_can_be() -> None:
    rows: list[Scores] = [{"f1": 1.0 if at else 0.9} for at in range(40)]
    mean = compare_arms({"a": rows, "b": rows}, baseline="a")["arms"]["a"]["f1"]
    assert mean["high"] <= 1


def test_a_judge_that_gave_no_score_is_counted() -> None:
    rows: list[Scores] = [{"judge_similarity": None if at < 10 else 4.0} for at in range(40)]
    told = compare_arms({"a": rows, "b": rows}, baseline="a")
    assert (
        "of a, scores of the judge are missing or could not be read: judge_similarity 10" in told["warnings"]
    )
    assert told["arms"]["a"]["judge_similarity"]["mean"] == 4


def test_slices_tell_where_a_difference_comes_from() -> None:
    golds = [Gold(("x",), frozenset({"a.txt"}))] * 40
    documents = [[hit("x", source="a.txt" if at < 20 else "b.txt")] for at in range(40)]
    questions = [
        {"question": "How many?" if at % 2 else "Who?", "source": f"{at % 3}.txt"} for at in range(40)
    ]
    slices = slices_of(questions, golds, documents)
    rag: list[Scores] = [{"f1": 0.0} for _ in range(40)]
    raft: list[Scores] = [{"f1": float(at < 20)} for at in range(40)]
    told = compare_arms({"rag": rag, "raft": raft}, baseline="rag", slices=slices)["slices"]
    assert told["oracle"]["retrieved"]["contrasts"]["raft"]["f1"]["difference"] == 1
    assert told["oracle"]["not retrieved"]["contrasts"]["raft"]["f1"]["difference"] == 0
    assert {value: of["questions"] for value, of in told["type"].items()} == {"how many": 20, "who": 20}
    assert sum(of["questions"] for of in told["source"].values()) == 40


@pytest.mark.parametrize(
    ("question", "type"),
    [("In what year did it open?", "what"), ("How far is it?", "how far"), ("Wie hoch ist er?", "other")],
)
def test_questions_are_told_apart_by_their_word(question: str, type: str) -> None:
    assert question_type(question) == type


# Arms


def test_the_arms_are_those_of_the_paper() -> None:
    assert [ARMS[name].prompt for name in ("rag", "dsf_rag", "raft")] == ["chain_of_thought"] * 3
    assert [name for name, arm in ARMS.items() if not arm.with_documents] == ["closed_book", "dsf"]
    assert [arm.name for arm in choose_arms(["rag", "raft"], ["baseline", "raft"])] == ["rag", "raft"]
    for names, roles, told in (
        (["rag", "best"], ["baseline"], "no arm 'best'"),
        (["rag", "dsf"], ["baseline"], "needs a model: name it with --dsf"),
        (["rag"], ["baseline"], "at least two arms"),
    ):
        with pytest.raises(UserError, match=told):
            choose_arms(names, roles)


def test_questions_are_joined_by_id() -> None:
    rows = [
        {"question": "Who?", "source": "a"},
        {"question": "Who?", "source": "b"},
        {"id": 7, "question": "Who?"},
    ]
    ids = identify(rows)
    assert len(set(ids)) == 3
    assert ids[2] == "7"
    assert ids == identify(json.loads(json.dumps(rows)))
    with pytest.raises(UserError, match="questions 1 and 4 are the same"):
        identify([*rows, rows[0]])


def test_distractors_grow_around_the_oracle() -> None:
    hits = [hit(f"Text {rank}.", rank=rank, source=f"{rank}.txt") for rank in range(1, 20)]
    hits[2]["text"] = "So it is fish, all the same."
    gold = Gold(("fish",), frozenset({"5.txt"}))
    places = set()
    for id in map(str, range(40)):
        given = with_distractors(hits, gold, (0, 1, 10), id)
        assert [len(documents) for documents in given] == [1, 2, 11]
        sources = [[one["source"] for one in documents] for documents in given]
        assert all(of.count("5.txt") == 1 for of in sources)
        assert "3.txt" not in sources[2], "a document that holds the answer is no distractor"
        assert [one for one in sources[2] if one != "5.txt"][:3] == ["1.txt", "2.txt", "4.txt"]
        assert set(sources[1]) <= set(sources[2])
        places.add(sources[2].index("5.txt"))
    assert len(places) > 8
    assert with_distractors(hits, Gold(("fish",), frozenset({"99.txt"})), (0,), "1") == []
    assert with_distractors(hits[4:6], gold, (0, 5), "1") == []


def test_the_oracle_is_taken_out_with_all_that_holds_the_answer() -> None:
    hits = [hit(f"Text {rank}.", rank=rank, source=f"{rank}.txt") for rank in range(1, 8)]
    hits[2]["text"] = "So it is fish, all the same."
    gold = Gold(("fish",), frozenset({"2.txt"}))
    assert [one["source"] for one in without_oracle(hits, gold, 3)] == ["1.txt", "4.txt", "5.txt"]
    assert without_oracle(hits, gold, 6) == [], "too few are left"
    assert without_oracle(hits, Gold(("fish",)), 3) == [], "which one is the oracle is not known"


def test_a_sample_is_the_same_each_time() -> None:
    ids = [str(at) for at in range(50)]
    assert sample(ids, 10, 1) == sample(ids, 10, 1) != sample(ids, 10, 2)
    assert sample(ids, 99, 1) == list(range(50))


def test_an_arm_keeps_the_time_its_replies_once_took(tmp_path: Path) -> None:
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


# Costs

PRICES = {
    "large": Price("large", input=3780, output=11340),  # dollars per 1,000,000 tokens
    "small": Price("small", input=520, output=670, hosting_hour=3.09),
}


def answers(count: int, sent: int = 1000, written: int = 100) -> list[dict[str, Any]]:
    return [{"error": "", "prompt_tokens": sent, "completion_tokens": written} for _ in range(count)]


def test_costs_are_measured_tokens_times_the_table() -> None:
    rows = [*answers(9), {"error": "HTTP 500", "prompt_tokens": 0, "completion_tokens": 0}, *answers(1, 0, 0)]
    cost = cost_arm(rows, "large", PRICES)
    assert (cost["measured"], cost["unmeasured"]) == (9, 1)
    assert cost["dollars_per_1000"] == pytest.approx(1000 * (1000 * 3780 + 100 * 11340) / 1e6)
    assert cost_arm(rows, "nobody", PRICES)["dollars_per_1000"] is None
    assert cost_arm(answers(2, 0, 0), "large", PRICES)["dollars_per_1000"] is None


def test_training_pays_for_itself_after_so_many_questions() -> None:
    large, small = cost_arm(answers(5), "large", PRICES), cost_arm(answers(5), "small", PRICES)
    back = pay_back(large, small, dataset=80, training=52.5)
    saved = (3780 - 520) / 1000 + (11340 - 670) / 10_000
    assert back["ratio"] == pytest.approx((3.78 + 1.134) / (0.52 + 0.067))
    assert back["questions"] == pytest.approx(132.5 / saved, abs=1)
    assert pay_back(small, large, dataset=80, training=1)["questions"] is None, "what costs more never pays"
    assert pay_back(large, small)["questions"] is None, "nothing is known of what it cost"
    assert pay_back(large, cost_arm([], "small", PRICES), training=1)["ratio"] is None


# The command


def compare(out: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tools", "compare", "--questions", "data/questions.jsonl", "--index", "index",
         "--out", str(out), "--mode", "lexical", "--no-similarity", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_the_command_compares_and_asks_nothing_twice(tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    asked = "What does it cost to rent a bodyboard for a whole day?"
    (dataset / "train.jsonl").write_text(json.dumps({"question": asked}) + "\n", encoding="utf-8")
    with scripted_endpoint() as base, scripted_endpoint(block="Harrow Hole") as tuned:
        how = [
            "--baseline", f"{base.url}:gpt-4o", "--raft", f"{tuned.url}:ft:gpt-4o-mini", "--judge", f"{base.url}:j",
            "--arms", "rag,closed_book,few_shot,raft", "--distractor-questions", 5, "--training-cost", 2,
            "--without-oracle", "--dataset", dataset,
        ]  # fmt: skip
        done = compare(tmp_path, *how)
        assert done.returncode == 3, done.stderr
        files = {
            path.relative_to(tmp_path): path.read_bytes()
            for path in tmp_path.rglob("*.json*")
            if path.is_file()
        }
        calls = base.stats()["calls"]
        again = compare(tmp_path, *how)
        assert base.stats()["calls"] == calls, "scored anew without a call"
    assert again.stdout == done.stdout
    for name, before in files.items():
        assert (tmp_path / name).read_bytes() == before, name
    assert re.match(r"Mind: \d+% of the answers of raft are missing", done.stdout), "before anything else"
    assert done.stdout.splitlines()[-1] == f"Report: 24 questions, 4 arms in {tmp_path / 'report.html'}"
    told = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert list(told["arms"]) == ["rag", "closed_book", "few_shot", "raft"]
    assert told["arms"]["rag"]["judge_similarity"]["n"] == 21
    assert told["arms"]["closed_book"].get("judge_groundedness") is None
    assert told["pay_back"]["raft"]["ratio"] > 2
    assert told["settings"]["seen_in_training"] == 1
    assert "Mind: 1 of the 24 questions stand in the training rows" in done.stdout
    bare = [
        json.loads(line)
        for line in (tmp_path / "answers" / "rag.without_oracle.jsonl").open(encoding="utf-8")
    ]
    assert told["without_oracle"]["rag"]["questions"] == len(bare) > 10
    for row in bare:
        assert row["asked"].get("source") not in {document["source"] for document in row["documents"]}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.index("answers of raft are missing") < page.index("What was won")
    assert {row["questions"] for row in told["distractors"]["rag"].values()} == {
        told["distractors"]["rag"]["10"]["questions"]
    }, "the same questions at every count"
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 4 * 24
    failed = [row for row in rows if row["arm"] == "raft" and row["tagged"] is None]
    assert failed and all(row["judge_fluency"] is None for row in failed)
    # The same documents in the same order reach every arm.
    answers = {
        arm: [json.loads(line) for line in (tmp_path / "answers" / f"{arm}.jsonl").open(encoding="utf-8")]
        for arm in ("rag", "few_shot", "raft")
    }
    for rag, few, raft in zip(*answers.values(), strict=True):
        assert rag["documents"] == few["documents"] == raft["documents"]
        assert rag["id"] == few["id"] == raft["id"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--baseline", "nobody:m", "--raft", "http://127.0.0.1:9:m"], "no connection 'nobody'"),
        (["--baseline", "http://127.0.0.1:9:m"], "the arm raft needs a model: name it with --raft"),
        (
            ["--baseline", "http://127.0.0.1:9:m", "--raft", "http://127.0.0.1:9:m", "--dataset", "data"],
            "data is no dataset",
        ),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, arguments: list[str], told: str) -> None:
    done = compare(tmp_path, *arguments)
    assert (done.returncode, done.stdout.strip()) == (1, "")
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
