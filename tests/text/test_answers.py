"""Exact match and token F1, compared with SQuAD's evaluation in torchmetrics 1.9.0."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Sequence

import pytest

from tools.raft.files import PROJECT
from tools.raft.text.answers import answer_f1, answer_tokens, answers_agree, exact_match, holds_answer

DATA = PROJECT / "data"
REFERENCE = "1.9.0"  # of torchmetrics.functional.text.squad

# Accents, Cyrillic, Greek, Arabic, Hindi, Turkish dots, symbols: covered by SQuAD's definition as it is.
UNICODE = [
    "Béatrice l'École", "Ñandú de São Tomé", "улица Ленина, 5", "Η Αθήνα!", "القاهرة", "नई दिल्ली", "İstanbul",
    "Straße 9", "20 °C", "€ 5.50", "$5.50", "naïve café", "Łódź", "x = y + 2", "5 µm", "🦇 bats",
]  # fmt: skip
PLAIN = [
    "", " ", "the", "a", "The bats", "bats", "an otter, a heron and the marten", "A.", "1,000", "1000", "half-moon",
    "halfmoon", "in 1911", "1911", "in the year 1911", "The documents do not say.", "I do not know.", "it's", "its",
    "U.S.A.", "usa", "theatre", "an\ttab", "two\nlines", "UPPER case", "again again again", "again",
]  # fmt: skip


def cases() -> list[tuple[str, list[str]]]:
    """Build pairs of answer and golds: sample answers, whole and in part; empty, Unicode, several golds."""
    rng = random.Random(5)
    texts = [*PLAIN, *UNICODE]
    for line in (DATA / "questions.jsonl").read_text(encoding="utf-8").splitlines():
        answer = json.loads(line).get("answer", "")
        if answer.isascii() and answer:
            words = answer.split()
            texts += [answer, f"It is the {answer}.", " ".join(words[: len(words) // 2 + 1]), answer.upper()]
    pairs = list(itertools.product(texts, repeat=2))
    single = [(answer, [gold]) for answer, gold in rng.sample(pairs, 400)]
    several = [(rng.choice(texts), rng.choices(texts, k=rng.randint(2, 5))) for _ in range(300)]
    return single + several + [(text, [text]) for text in texts]


def reference(answer: str, golds: Sequence[str]) -> tuple[float, float]:
    from torchmetrics.functional.text import squad

    scores = squad(
        [{"prediction_text": answer, "id": "1"}],
        [{"answers": {"answer_start": [0] * len(golds), "text": list(golds)}, "id": "1"}],
    )
    return float(scores["exact_match"]) / 100, float(scores["f1"]) / 100


def test_scores_equal_squad() -> None:
    torchmetrics = pytest.importorskip("torchmetrics")
    assert torchmetrics.__version__ == REFERENCE
    checked = cases()
    assert len(checked) >= 700
    for answer, golds in checked:
        match, f1 = reference(answer, golds)
        assert exact_match(answer, golds) == match, (answer, golds)
        assert answer_f1(answer, golds) == pytest.approx(f1, abs=1e-6), (
            answer,
            golds,
        )  # the reference is float32


# What SQuAD's script does not handle: punctuation beyond ASCII, Unicode forms, scripts without spaces. Each text
# is paired with an equivalent that it does handle, for which the reference must give our score of the text.
BEYOND = [
    ("“Agnes” — 1911", "Agnes 1911"),
    ("青雾一号", "青 雾 一 号"),
    ("青雾一号。", "青 雾 一 号"),
    ("一号 茶", "一 号 茶"),
    ("2024年", "2024 年"),
    ("ありがとう！", "あ り が と う"),
    ("ｆｕｌｌ ｗｉｄｔｈ", "full width"),
    ("cafe\u0301", "café"),
    ("¿Dónde?", "Dónde"),
    ("«oui»", "oui"),
    ("soft\u00adware", "software"),
    ("ﬁre", "fire"),
    ("กข ค", "ก ข ค"),
    ("no\u00a0break", "no break"),
    ("bats、otters", "batsotters"),
    ("", ""),
]


def test_scores_beyond_ascii_equal_squad_on_an_equivalent_text() -> None:
    pytest.importorskip("torchmetrics")
    for (answer, plain), (gold, plain_gold) in itertools.product(BEYOND, repeat=2):
        match, f1 = reference(plain, [plain_gold])
        assert exact_match(answer, [gold]) == match, (answer, gold)
        assert answer_f1(answer, [gold]) == pytest.approx(f1, abs=1e-6), (answer, gold)


def test_drops_articles_in_english_only() -> None:
    assert answer_tokens("The end of a day") == ["end", "of", "day"]
    assert answer_tokens("an der Mauer", "de") == ["an", "der", "mauer"]
    assert exact_match("a casa", ["casa"], "pt") == 0.0
    assert exact_match("a casa", ["casa"], "en-GB") == 1.0


def test_nothing_matches_without_a_gold_answer() -> None:
    assert exact_match("", []) == 0.0
    assert answer_f1("bats", []) == 0.0


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("It weighs 12 grams.", "12", True),
        ("It weighs 1200 grams.", "12", False),
        ("The Supreme Court sits in Oslo.", "supreme court", True),
        ("Courts sit in Oslo.", "court", False),
        ("最高法院共有十五名法官。", "十五名法官", True),
        ("最高法院共有五名法官。", "十五名法官", False),
        ("東京は日本の首都である。", "日本の首都", True),
        ("ศาลมีผู้พิพากษาสิบห้าคน", "สิบห้าคน", True),
        ("대법원은 부산에 있다.", "부산", True),
        ("Ｅ＝ｍｃ² “famous”", 'e=mc2 "famous"', True),
        ("Anything.", "", False),
        ("Anything.", "?!", False),
    ],
)
def test_finds_an_answer_in_a_text(text: str, answer: str, expected: bool) -> None:
    assert holds_answer(text, answer) is expected


def test_answers_agree_if_one_contains_the_other_and_numbers_match() -> None:
    assert answers_agree("about 15 centimetres", "15 centimetres")
    assert not answers_agree("16 centimetres", "15 centimetres")
    assert answers_agree("十五名法官", "共有十五名法官")
    assert not answers_agree("", "15")
