"""Score answers and supporting facts as HotpotQA does: each, and both jointly.

The rules are those of hotpot_evaluate_v1.py (github.com/hotpotqa/hotpot, Apache-2.0) for Yang et al.,
"HotpotQA: A Dataset for Diverse, Explainable Multi-hop Question Answering", EMNLP 2018. Its tokens are not
those of `answer_f1`: punctuation is ASCII only, Unicode forms stay as they are, words are split at white
space in every script, and yes and no match nothing but themselves.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

Fact = tuple[str, int]  # title of a paragraph, number of a sentence in it from 0

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_DROP_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = (["yes"], ["no"], ["noanswer"])


class Overlap(NamedTuple):
    """How far a prediction agrees with its gold, each 0 to 1."""

    exact_match: float
    f1: float
    precision: float
    recall: float


_NONE = Overlap(0.0, 0.0, 0.0, 0.0)


def score_hotpot(
    answer: str | None, gold: str, facts: Collection[Fact] | None, gold_facts: Collection[Fact]
) -> dict[str, float]:
    """Score one question under the names of the script: em, f1, prec, recall, also with sp_ and joint_.

    Without an answer, or without facts (None), that part and the joint scores are 0. The script's figures
    are the means over all questions.
    """
    answers = _NONE if answer is None else compare_answers(answer, gold)
    supports = _NONE if facts is None else compare_facts(facts, gold_facts)
    parts = {"": answers, "sp_": supports, "joint_": join_overlaps(answers, supports)}
    return {
        prefix + name: value
        for prefix, overlap in parts.items()
        for name, value in zip(("em", "f1", "prec", "recall"), overlap, strict=True)
    }


def compare_answers(answer: str, gold: str) -> Overlap:
    """Compare the tokens of two answers, as multisets for F1.

    If one of them is yes, no or noanswer, all is 0 unless both are equal. Two answers without any tokens
    match exactly and have F1 0.
    """
    tokens, expected = _tokens(answer), _tokens(gold)
    exact = float(tokens == expected)
    if not exact and (tokens in _CLOSED or expected in _CLOSED):
        return _NONE
    common = sum((Counter(tokens) & Counter(expected)).values())
    return _overlap(exact, common, len(tokens), len(expected))


def compare_facts(facts: Collection[Fact], gold: Collection[Fact]) -> Overlap:
    """Compare two sets of supporting facts; one given twice counts once, and titles must be equal as written.

    Two empty sets match exactly and have F1 0.
    """
    found, expected = set(map(tuple, facts)), set(map(tuple, gold))
    return _overlap(float(found == expected), len(found & expected), len(found), len(expected))


def join_overlaps(answers: Overlap, facts: Overlap) -> Overlap:
    """Compute the joint scores: products of exact matches, precisions and recalls, and F1 of the latter two.

    Yang et al. 2018, section 5.1.
    """
    precision, recall = answers.precision * facts.precision, answers.recall * facts.recall
    return Overlap(answers.exact_match * facts.exact_match, _harmonic(precision, recall), precision, recall)


def _tokens(answer: str) -> list[str]:
    return _ARTICLES.sub(" ", answer.lower().translate(_DROP_PUNCTUATION)).split()


def _overlap(exact: float, common: int, found: int, expected: int) -> Overlap:
    precision = common / found if found else 0.0
    recall = common / expected if expected else 0.0
    return Overlap(exact, _harmonic(precision, recall), precision, recall)


def _harmonic(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0
