"""Compare answers: with gold answers, with each other, with texts that may contain them."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from .normalise import UNSPACED, fold, normalise

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# A character of a script that sets no blanks is a word of its own.
_PIECES = re.compile(rf"{UNSPACED.pattern}|(?:(?!{UNSPACED.pattern})\S)+")


class _Punctuation(dict[int, "int | None"]):
    """Drop the punctuation of ASCII, symbols included as in SQuAD, and of every other script."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        drop = character in string.punctuation or unicodedata.category(character).startswith("P")
        self[code] = None if drop else code
        return self[code]


_DROP = _Punctuation()


def answer_tokens(text: str, language: str = "en") -> list[str]:
    """Split an answer into the tokens that are compared.

    As in SQuAD's evaluation script 1.1 (Rajpurkar et al. 2016): lower case, no punctuation, no
    articles. Beyond it: Unicode forms are folded (NFKC), articles are dropped in English only ("an" and
    "a" are other words elsewhere), and scripts without blanks are compared by characters.
    """
    text = fold(text).lower().translate(_DROP)
    if language.lower().startswith("en"):
        text = _ARTICLES.sub(" ", text)
    return _PIECES.findall(text)


def exact_match(answer: str, golds: Sequence[str], language: str = "en") -> float:
    """Return 1.0 if the answer has the tokens of one of the gold answers, else 0.0."""
    return _best(lambda ours, gold: float(ours == gold), answer, golds, language)


def answer_f1(answer: str, golds: Sequence[str], language: str = "en") -> float:
    """Compute the token F1, 0 to 1, with the closest gold answer.

    Where one side has no tokens it is 1 if neither has, as in SQuAD 2.0 (Rajpurkar et al. 2018).
    """
    return _best(_f1, answer, golds, language)


def _f1(ours: list[str], gold: list[str]) -> float:
    if not ours or not gold:
        return float(ours == gold)
    common = sum((Counter(ours) & Counter(gold)).values())
    return 2 * common / (len(ours) + len(gold))


def _best(
    compare: Callable[[list[str], list[str]], float], answer: str, golds: Sequence[str], language: str
) -> float:
    ours = answer_tokens(answer, language)
    return max((compare(ours, answer_tokens(gold, language)) for gold in golds), default=0.0)


def holds_answer(text: str, answer: str) -> bool:
    """Return whether a text contains an answer, case, punctuation and Unicode forms aside.

    An answer in ASCII has to stand there in whole words. Any other may be part of a longer run: Chinese,
    Japanese and Thai set no blanks, and many languages attach endings. An empty answer is in no text.
    """
    return holds_normalised(normalise(text), normalise(answer))


def holds_normalised(text: str, answer: str) -> bool:
    """Return what `holds_answer` does for a text and an answer that are normalised already."""
    if not answer:
        return False
    return f" {answer} " in f" {text} " or (not answer.isascii() and answer in text)


def answers_agree(answer: str, expected: str, *, threshold: float = 0.5) -> bool:
    """Return whether two answers say the same: one contains the other, or their token F1 reaches the threshold.

    Numbers must agree wherever both have some. Token F1 as in SQuAD (Rajpurkar et al. 2016), by
    characters for scripts that set no blanks.
    """
    ours, theirs = normalise(answer), normalise(expected)
    if not ours or not theirs:
        return False
    our_numbers, their_numbers = set(re.findall(r"\d+", ours)), set(re.findall(r"\d+", theirs))
    if our_numbers and their_numbers and not (our_numbers & their_numbers):
        return False
    if f" {theirs} " in f" {ours} " or f" {ours} " in f" {theirs} ":
        return True
    if UNSPACED.search(theirs) and (theirs in ours or ours in theirs):
        return True
    return _f1(_PIECES.findall(ours), _PIECES.findall(theirs)) >= threshold
