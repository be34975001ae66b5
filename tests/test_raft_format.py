"""Parsing what models write, in the variants that a person would accept."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from tools.raft.generate.question_list import parse_questions
from tools.raft.prompts import PROMPTS
from tools.raft.raft_format import ANSWER_TAG, BEGIN_QUOTE, END_QUOTE, parse_answer
from tools.raft.text.normalise import fold
from tools.raft.text.quotes import anchor_quotes

QUESTIONS = ["What does it weigh?", "Is it awake at noon?", "Why 5.5 grams?"]


@pytest.mark.parametrize(
    "text",
    [
        "What does it weigh?\nIs it awake at noon?\nWhy 5.5 grams?",
        "Here are 3 questions:\n\n1. What does it weigh?\n2. Is it awake at noon?\n3. Why 5.5 grams?",
        "1) What does it weigh?\n2) Is it awake at noon?\n3) Why 5.5 grams?\n\nLet me know if you need more!",
        "- What does it weigh?\n* Is it awake at noon?\n• Why 5.5 grams?",
        "**1.** What does it weigh?\n**2.** **Is it awake at noon?**\n\nQ3: Why 5.5 grams?",
        '```json\n["What does it weigh?", "Is it awake at noon?", "Why 5.5 grams?"]\n```',
        'Sure!\n{"questions": [{"question": "What does it weigh?"}, {"question": "Is it awake at noon?"}, '
        '{"question": "Why 5.5 grams?"}]}',
    ],
)
def test_parses_a_question_list_in_every_common_form(text: str) -> None:
    assert parse_questions(text) == QUESTIONS


def test_drops_the_preamble_and_the_numbers_of_a_list() -> None:
    assert parse_questions("Here are 10 questions:\n5. Is the bat asleep?") == ["Is the bat asleep?"]


def test_parses_lists_in_other_scripts() -> None:
    assert parse_questions("以下是问题：\n1、蝙蝠吃什么？\n2、它住在哪里？") == [
        "蝙蝠吃什么？",
        "它住在哪里？",
    ]
    assert parse_questions("١. ما وزن الخفاش؟") in (["ما وزن الخفاش؟"], ["١. ما وزن الخفاش؟"])


def test_keeps_tasks_without_question_marks() -> None:
    assert parse_questions("1. Sort my photos by date.\n2. Find faces in a video.") == [
        "Sort my photos by date.",
        "Find faces in a video.",
    ]


@pytest.mark.parametrize(
    "tag", ["<ANSWER>: nine", "<ANSWER>:nine", "<ANSWER> nine", "**<ANSWER>:** nine", "<answer>: nine"]
)
def test_parses_every_common_form_of_the_answer_tag(tag: str) -> None:
    answer = parse_answer(f"It says ##begin_quote##nine grams##end_quote##.\n{tag}")
    assert not isinstance(answer, str)
    assert answer.final == "nine"
    assert answer.text.endswith("\n<ANSWER>: nine")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("It weighs nine grams, I would think, because", "no <ANSWER> tag"),
        ("##begin_quote##x##end_quote## <ANSWER>: a <ANSWER>: b", "several <ANSWER> tags"),
        ("##begin_quote##x##end_quote##\n<ANSWER>:  ", "empty final answer"),
        ("##begin_quote##x\n<ANSWER>: a", "unbalanced quote markers"),
        (
            "##begin_quote##x ##begin_quote##y##end_quote## z##end_quote##\n<ANSWER>: a",
            "unbalanced quote markers",
        ),
        ("x\n<ANSWER>: ##begin_quote##a##end_quote##", "quote inside the final answer"),
    ],
)
def test_names_what_is_wrong_with_a_malformed_answer(text: str, reason: str) -> None:
    assert parse_answer(text) == reason


def test_anchors_a_quote_to_the_characters_of_its_document() -> None:
    document = 'The "Grey Bat" – a café\u0301\nguest’s friend\u00ad – sleeps.'
    answer = parse_answer(
        "See ##begin_quote##“Grey Bat” - a cafe\u0301\u0301 guest's friend##end_quote##\n<ANSWER>: it"
    )
    assert not isinstance(answer, str)
    anchored = anchor_quotes(answer, document)
    assert not isinstance(anchored, str)
    assert all(quote in document for quote in anchored.quotes)


@pytest.mark.parametrize("quote", ["the grey bat", "Grey … sleeps", "Grey Bats", ""])
def test_rejects_a_quote_that_is_not_verbatim(quote: str) -> None:
    answer = parse_answer(f"##begin_quote##{quote}##end_quote##\n<ANSWER>: it")
    assert not isinstance(answer, str)
    assert isinstance(anchor_quotes(answer, "The Grey Bat sleeps."), str)


@given(st.text(min_size=1), st.data())
def test_finds_any_excerpt_of_a_document_in_it(document: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(document) - 1))
    piece = document[start : data.draw(st.integers(start + 1, len(document)))]
    if not fold(piece) or "##" in piece or "<" in piece.upper():
        return
    answer = parse_answer(f"##begin_quote##{piece}##end_quote##\n<ANSWER>: it")
    assert not isinstance(answer, str)
    anchored = anchor_quotes(answer, document)
    assert not isinstance(anchored, str), anchored
    assert anchored.quotes[0] in document


@given(st.text())
def test_parses_any_text_without_an_exception(text: str) -> None:
    assert all(question.strip() for question in parse_questions(text))
    parse_answer(text)


def test_the_prompts_ask_for_the_tag_and_the_markers_that_are_parsed() -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in PROMPTS.glob("*.jinja2")}
    tagged = {name for name, text in texts.items() if "ANSWER" in text or ANSWER_TAG in text}
    assert {"raft_answer.jinja2", "answer_question.jinja2", "refusal.jinja2"} <= tagged
    for name, text in texts.items():
        for tag in re.findall(r"<[A-Z]+>:", text):
            assert tag == ANSWER_TAG, f"{name} asks for {tag}"
        for marker in re.findall(r"##\w+##", text):
            assert marker in (BEGIN_QUOTE, END_QUOTE), f"{name} asks for {marker}"
