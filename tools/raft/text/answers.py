"""Compare answers with gold answers, with each other, and with texts that may contain them."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from .normalise import UNSPACED, fold, normalise

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# In scripts written without spaces, each character counts as a word.
_WORDS = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")


class _Punctuation(dict[int, "int | None"]):
    """Translation table that drops the punctuation of any script, and ASCII symbols as in SQuAD."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        drop = character in string.punctuation or unicodedata.category(character).startswith("P")
        self[code] = None if drop else code
        return self[code]


_DROP_PUNCTUATION = _Punctuation()


def answer_tokens(text: str, language: str = "en") -> list[str]:
    """Split an answer into the tokens that are compared.

    As in SQuAD's evaluation script 1.1 (Rajpurkar et al. 2016): lower case, no punctuation, no
    articles. In addition, Unicode forms are folded (NFKC), articles are dropped in English only ("an" and
    "a" mean other things elsewhere), and scripts without spaces are split into characters.
    """
    text = fold(text).lower().translate(_DROP_PUNCTUATION)
    if language.lower().startswith("en"):
        text = _ARTICLES.sub(" ", text)
    return _WORDS.findall(text)


def exact_match(answer: str, golds: Sequence[str], language: str = "en") -> float:
    """Return 1.0 if the answer has the same tokens as one of the gold answers, else 0.0."""
    return _best_score(lambda tokens, gold: float(tokens == gold), answer, golds, language)


def answer_f1(answer: str, golds: Sequence[str], language: str = "en") -> float:
    """Compute the token F1, 0 to 1, with the closest gold answer.

    If one side has no tokens, F1 is 1 if the other has none either, else 0, as in SQuAD 2.0
    (Rajpurkar et al. 2018).
    """
    return _best_score(_f1, answer, golds, language)


def _f1(tokens: list[str], gold: list[str]) -> float:
    if not tokens or not gold:
        return float(tokens == gold)
    common = sum((Counter(tokens) & Counter(gold)).values())
    return 2 * common / (len(tokens) + len(gold))


def _best_score(
    metric: Callable[[list[str], list[str]], float], answer: str, golds: Sequence[str], language: str
) -> float:
    tokens = answer_tokens(answer, language)
    return max((metric(tokens, answer_tokens(gold, language)) for gold in golds), default=0.0)


def holds_answer(text: str, answer: str) -> bool:
    """Return whether a text contains an answer, ignoring case, punctuation and Unicode forms.

    An ASCII answer must match whole words. Any other may be part of a longer run: Chinese, Japanese and
    Thai are written without spaces, and many languages attach endings. No text contains an empty answer.
    """
    return holds_normalised(normalise(text), normalise(answer))


def holds_normalised(text: str, answer: str) -> bool:
    """Return the same as `holds_answer`, for a text and an answer that are already normalised."""
    if not answer:
        return False
    return f" {answer} " in f" {text} " or (not answer.isascii() and answer in text)


def answers_agree(answer: str, expected: str, *, threshold: float = 0.5) -> bool:
    """Return whether two answers agree: one contains the other, or their token F1 reaches the threshold.

    If both contain numbers, they must share at least one. Token F1 as in SQuAD (Rajpurkar et al. 2016),
    over characters in scripts without spaces.
    """
    answer, expected = normalise(answer), normalise(expected)
    if not answer or not expected:
        return False
    numbers, expected_numbers = set(re.findall(r"\d+", answer)), set(re.findall(r"\d+", expected))
    if numbers and expected_numbers and not (numbers & expected_numbers):
        return False
    if f" {expected} " in f" {answer} " or f" {answer} " in f" {expected} ":
        return True
    if UNSPACED.search(expected) and (expected in answer or answer in expected):
        return True
    return _f1(_WORDS.findall(answer), _WORDS.findall(expected)) >= threshold
