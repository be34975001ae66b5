"""HotpotQA's scores: by hand, and against the verdicts of its own script on 200 cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.raft.evaluate.hotpot import compare_answers, compare_facts, join_overlaps, score_hotpot
from tools.raft.text.answers import answer_f1

CASES = json.loads(Path(__file__).with_name("hotpot_cases.json").read_text(encoding="utf-8"))


def test_they_agree_with_the_script_of_hotpotqa():
    names = CASES["row"][4]
    assert len(CASES["cases"]) == 200
    for answer, gold, facts, gold_facts, expected in CASES["cases"]:
        scores = score_hotpot(answer, gold, facts, gold_facts)
        assert scores == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-8), (
            answer,
            gold,
            facts,
        )


def test_small_cases_computed_by_hand():
    assert compare_answers("The Hague, Netherlands", "the hague") == (0, pytest.approx(2 / 3), 0.5, 1)
    assert compare_facts([("A", 0), ("B", 3)], [("A", 0), ("A", 1), ("C", 2)]) == (
        0,
        0.4,
        0.5,
        pytest.approx(1 / 3),
    )
    joint = join_overlaps(
        compare_answers("big red dog", "red dog"), compare_facts([("A", 0)], [("A", 0), ("B", 1)])
    )
    assert joint == (0, pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5)), pytest.approx(2 / 3), 0.5)


@pytest.mark.parametrize("closed", ["yes", "no", "noanswer"])
def test_yes_and_no_match_nothing_but_themselves(closed):
    assert compare_answers(f"{closed.upper()}.", closed) == (1, 1, 1, 1)
    assert compare_answers(f"{closed}, they were", closed) == (0, 0, 0, 0)
    assert compare_answers(closed, f"{closed} man") == (0, 0, 0, 0)


def test_a_fact_given_twice_counts_once_and_titles_are_compared_as_written():
    assert compare_facts([("A", 0), ("A", 0)], [("A", 0)]) == (1, 1, 1, 1)
    assert compare_facts([("a", 0)], [("A", 0)]) == (0, 0, 0, 0)


def test_a_missing_answer_or_missing_facts_score_0_and_so_does_the_whole():
    scores = score_hotpot(None, "yes", [("A", 0)], [("A", 0)])
    assert {name: score for name, score in scores.items() if score} == dict.fromkeys(
        ["sp_em", "sp_f1", "sp_prec", "sp_recall"], 1
    )
    scores = score_hotpot("yes", "yes", None, [("A", 0)])
    assert {name for name, score in scores.items() if score} == {"em", "f1", "prec", "recall"}


def test_nothing_against_nothing_matches_exactly_and_has_f1_0():
    assert compare_answers("", "the") == (1, 0, 0, 0)
    assert compare_facts([], []) == (1, 0, 0, 0)


def test_its_tokens_differ_from_those_of_answer_f1_beyond_ascii():
    assert compare_answers("“Paris”", "Paris").f1 == 0 and answer_f1("“Paris”", ["Paris"]) == 1
    assert compare_answers("東京都", "東京").f1 == 0 and answer_f1("東京都", ["東京"]) == 0.8
