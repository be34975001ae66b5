"""Match an answer with the gold answers, word by word."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from .safe import fold

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
# A character of a script that sets no blanks is a word of its own.
_PIECES = re.compile(
    r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
    r"|[^\s\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


class _Punctuation(dict[int, "int | None"]):
    """Drop the punctuation of ASCII, symbols included as in SQuAD, and of every other script."""

    def __missing__(self, code: int) -> int | None:
        character = chr(code)
        drop = character in string.punctuation or unicodedata.category(character).startswith("P")
        self[code] = None if drop else code
        return self[code]


_DROP = _Punctuation()


def answer_tokens(text: str, language: str = "en") -> list[str]:
    """Cut an answer into the tokens that are compared.

    As in SQuAD's evaluation script 1.1 (Rajpurkar et al. 2016): lower case, no punctuation, no
    articles. Beyond it: Unicode forms are folded (NFKC), articles go in English only ("an" and
    "a" are other words elsewhere), and scripts without blanks are compared by characters.
    """
    text = fold(text).lower().translate(_DROP)
    if language.lower().startswith("en"):
        text = _ARTICLES.sub(" ", text)
    return _PIECES.findall(text)


def exact_match(answer: str, golds: Sequence[str], language: str = "en") -> float:
    """Give 1.0 where the answer has the tokens of one of the gold answers, else 0.0."""
    return _best(lambda ours, gold: float(ours == gold), answer, golds, language)


def answer_f1(answer: str, golds: Sequence[str], language: str = "en") -> float:
    """Give the token F1, 0 to 1, with the gold answer that is closest.

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
