"""A comparison of scores: means, paired differences, slices, and what is missing said first."""

from __future__ import annotations

import pytest

from tests.rag.test_answer import hit
from tools.raft.evaluate.compare import compare_arms, question_type, slices_of
from tools.raft.evaluate.metrics import Scores
from tools.raft.evaluate.score import Gold


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
