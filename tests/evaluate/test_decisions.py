"""Yes/no/maybe: what counts as a decision, and the scores against scikit-learn's."""

from __future__ import annotations

import random

import pytest

from tools.raft.evaluate.decisions import DECISIONS, decision_accuracy, decision_macro_f1, read_decision


@pytest.mark.parametrize(
    ("answer", "decision"),
    [
        ("yes", "yes"),
        ("No.", "no"),
        (" MAYBE!\n", "maybe"),
        ("**Yes**", "yes"),
        ("_no_", "no"),
        ('"Yes", the trial showed it.', "yes"),
        ("Yes, because the risk fell by half.", "yes"),
        ("Yes because the risk fell by half.", "yes"),
        ("No – the groups did not differ", "no"),
        ("no\nThe groups did not differ", "no"),
        ("No, no effect was found.", "no"),
        ("Yes. No adverse effects were found.", "yes"),
        ("Maybe; it depends on the dose.", "maybe"),
    ],
)
def test_a_decision_is_read_whatever_its_case_and_punctuation(answer, decision):
    assert read_decision(answer) == decision


@pytest.mark.parametrize(
    "answer",
    ["", "...", "Yesterday it rained", "None", "No effect was found.", "No-one knows", "I do not know.", "ja",
     "Yes and no.", "yes or no", "yes/no/maybe", "Yes, no or maybe", "yes | no", "The risk fell, yes."],
)  # fmt: skip
def test_anything_else_is_no_decision(answer):
    assert read_decision(answer) is None


def test_scores_computed_by_hand():
    decisions = ["yes", "yes", "no", None]
    golds = ["yes", "no", "no", "maybe"]
    assert decision_accuracy(decisions, golds) == 0.5
    assert decision_macro_f1(decisions, golds) == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert decision_macro_f1(["yes", "no"], ["yes", "no"]) == 1, "a class that does not occur is left out"
    assert decision_accuracy([None], ["yes"]) == decision_macro_f1([None], ["yes"]) == 0


def test_always_yes_on_the_test_set_of_pubmedqa():
    golds = ["yes"] * 276 + ["no"] * 169 + ["maybe"] * 55
    assert decision_accuracy(["yes"] * 500, golds) == 0.552
    assert decision_macro_f1(["yes"] * 500, golds) == pytest.approx(0.23711, abs=1e-5)


def test_decisions_that_cannot_be_scored():
    with pytest.raises(ValueError, match="no decisions"):
        decision_accuracy([], [])
    with pytest.raises(ValueError):
        decision_macro_f1(["yes"], [])


def test_they_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = random.Random(1)
    for case in range(200):
        size = rng.randint(1, 40)
        golds = rng.choices(DECISIONS, weights=[5, 3, 1], k=size)
        decisions = rng.choices([*DECISIONS, None], weights=[4, 3, 2, case % 3], k=size)
        guesses = [decision or "unreadable" for decision in decisions]
        classes = [name for name in DECISIONS if name in {*golds, *guesses}]
        expected = metrics.f1_score(golds, guesses, labels=classes, average="macro", zero_division=0)
        assert decision_macro_f1(decisions, golds) == pytest.approx(expected)
        assert decision_accuracy(decisions, golds) == pytest.approx(metrics.accuracy_score(golds, guesses))
