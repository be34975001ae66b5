"""Splitting sentences in several scripts, with abbreviations."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tools.raft.text.sentences import split_sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["Dr. Smith came at 5 p.m. to St. Ives.", "He left in 1998.", "Why?", "Nobody knows."],
        ["Der Akku hält ca. 5 Std. lang.", "Am 3. Mai war z.B. Schluss.", "Ende."],
        ["There were 12.", "The wave was 2.5 m high.", 'He said "Go."', "Then he left!"],
        [
            "Rhys (c. 1065, d. 1093; lit. Ardour) ruled (from A.D. 1078. He was young.) for long.",
            "Hon. Ann left.",
        ],
        ["It closed (in 1990.", "Nobody knows why."],
        ["यह एक वाक्य है।", "यह दूसरा है।"],
        ["هل هذا خفاش؟", "نعم هو كذلك."],
    ],
)
def test_splits_scripts_with_spaces(sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences)) == sentences


def test_splits_scripts_without_spaces() -> None:
    assert split_sentences("吸血蝙蝠吃血。它们住在洞穴里！为什么？“不知道。”") == [
        "吸血蝙蝠吃血。",
        "它们住在洞穴里！",
        "为什么？",
        "“不知道。”",
    ]


def test_splits_off_headings_and_list_items() -> None:
    text = "# Bats\nThey fly.\nThey sleep\nby day.\n\n- one thing\n- another"
    assert split_sentences(text) == ["# Bats", "They fly.", "They sleep\nby day.", "- one thing", "- another"]


@given(st.text())
def test_loses_only_white_space(text: str) -> None:
    sentences = split_sentences(text)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence in text for sentence in sentences)
