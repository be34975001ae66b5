"""A comparison of scores: means, paired differences, slices, and warnings about missing answers."""

from __future__ import annotations

import pytest

from tests.rag.test_answer import hit
from tools.raft.evaluate.compare import compare_arms, question_type, slices_of
from tools.raft.evaluate.metrics import Scores
from tools.raft.evaluate.score import Gold


def test_46_percent_missing_gives_a_warning_and_shows_in_every_count() -> None:
    rag: list[Scores] = [{"f1": 0.5} for _ in range(100)]
    raft: list[Scores] = [{"f1": None if i < 46 else 0.75} for i in range(100)]
    result = compare_arms({"rag": rag, "raft": raft}, baseline="rag", errors={"rag": 0, "raft": 46})
    assert result["questions"] == 100
    assert result["warnings"][0].startswith("46% of the answers of raft are missing (46 of 100 calls failed)")
    assert "54 questions" in result["warnings"][0]
    mean = result["arms"]["raft"]["f1"]
    assert (mean["n"], mean["missing"], mean["mean"]) == (54, 46, 0.75)
    contrast = result["contrasts"]["raft"]["f1"]
    assert (contrast["pairs"], contrast["missing"], contrast["difference"]) == (54, 46, 0.25)
    low, high = contrast["bounds"]
    assert low == pytest.approx(0.54 * 0.25 - 0.46 * 0.5), "if every missing answer were wrong"
    assert high == pytest.approx(0.54 * 0.25 + 0.46 * 0.5)


def test_an_inapplicable_metric_is_not_missing() -> None:
    rows: list[Scores] = [
        {"f1": 1.0},
        {"f1": 0.0, "quotes_verbatim": 1.0},
        {"f1": None, "quotes_verbatim": None},
    ]
    result = compare_arms({"a": rows, "b": rows}, baseline="a")
    mean = result["arms"]["a"]["quotes_verbatim"]
    assert (mean["n"], mean["missing"], mean["inapplicable"]) == (1, 1, 1)
    assert result["arms"]["a"]["f1"]["inapplicable"] == 0
    assert result["contrasts"]["b"]["quotes_verbatim"]["missing"] == 1
    only_a: list[Scores] = [{"f1": 1.0, "quoted": 1.0}] * 3
    assert "quoted" not in compare_arms({"a": only_a, "b": rows}, baseline="a")["arms"]["b"]


def test_intervals_stay_within_the_bounds_of_the_metric() -> None:
    rows: list[Scores] = [{"f1": 1.0 if i else 0.9} for i in range(40)]
    mean = compare_arms({"a": rows, "b": rows}, baseline="a")["arms"]["a"]["f1"]
    assert mean["high"] <= 1


def test_missing_judge_scores_are_counted() -> None:
    rows: list[Scores] = [{"judge_similarity": None if i < 10 else 4.0} for i in range(40)]
    result = compare_arms({"a": rows, "b": rows}, baseline="a")
    warning = "of a, scores of the judge are missing or could not be read: judge_similarity 10"
    assert warning in result["warnings"]
    assert result["arms"]["a"]["judge_similarity"]["mean"] == 4


def test_slices_show_where_a_difference_comes_from() -> None:
    golds = [Gold(("x",), frozenset({"a.txt"}))] * 40
    documents = [[hit("x", source="a.txt" if i < 20 else "b.txt")] for i in range(40)]
    questions = [{"question": "How many?" if i % 2 else "Who?", "source": f"{i % 3}.txt"} for i in range(40)]
    slices = slices_of(questions, golds, documents)
    rag: list[Scores] = [{"f1": 0.0} for _ in range(40)]
    raft: list[Scores] = [{"f1": float(i < 20)} for i in range(40)]
    by_slice = compare_arms({"rag": rag, "raft": raft}, baseline="rag", slices=slices)["slices"]
    assert by_slice["oracle"]["retrieved"]["contrasts"]["raft"]["f1"]["difference"] == 1
    assert by_slice["oracle"]["not retrieved"]["contrasts"]["raft"]["f1"]["difference"] == 0
    assert {value: row["questions"] for value, row in by_slice["type"].items()} == {"how many": 20, "who": 20}
    assert sum(row["questions"] for row in by_slice["source"].values()) == 40


@pytest.mark.parametrize(
    ("question", "type"),
    [("In what year did it open?", "what"), ("How far is it?", "how far"), ("Wie hoch ist er?", "other")],
)
def test_questions_are_classified_by_their_question_word(question: str, type: str) -> None:
    assert question_type(question) == type
