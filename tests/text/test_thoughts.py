"""What a reasoning model thought is told from what it answered."""

from __future__ import annotations

import time

import pytest

from tools.raft.text.thoughts import drop_thoughts, stream_answer_only


@pytest.mark.parametrize(
    "reply",
    [
        "<think>\nWhy?\n</think>\n\nB",
        "<THINKING>Why?</thinking>B",
        "<thought>Why?</thought>B",
        '<reasoning effort="high">Why?</reasoning>\nB',
        "<seed:think>Why?</seed:think>B",
        "[THINK]Why?[/THINK]B",
        "◁think▷Why?◁/think▷B",
        "<|START_THINKING|>Why?<|END_THINKING|>B",
        "Why? <think> is a tag.\n</think>\nB",
        "<think></think>\n\nB",
        "<think>a</think>\n<think>b</think>\nB",
        "<think><think>a</think></think>B",
        "<think>Mark it with ##begin_quote##.</think>B",
        "<|channel|>analysis<|message|>Why?<|end|><|start|>assistant<|channel|>final<|message|>B<|return|>",
        "analysis<|message|>Why?<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>B",
        "analysisWhy? We must answer.assistantfinalB",
    ],
)
def test_only_the_answer_is_left(reply: str) -> None:
    assert drop_thoughts(reply) == ("B", True)


@pytest.mark.parametrize(
    "reply", ["<think>Why", "<think>\n", "<|channel|>analysis<|message|>Why", "Why?</think>"]
)
def test_a_thought_that_is_cut_off_leaves_no_answer(reply: str) -> None:
    assert drop_thoughts(reply) == ("", True)


@pytest.mark.parametrize(
    "reply",
    [
        "  An answer.\n",
        "The tag <think> opens a thought.",
        "It says ##begin_quote##<think>\nx\n</think> is the model's##end_quote##.\n<ANSWER>: x",
        "analysis of the final report",
        "",
    ],
)
def test_a_reply_without_thoughts_is_unchanged(reply: str) -> None:
    assert drop_thoughts(reply) == (reply, False)


def test_a_quote_after_an_unpaired_marker_in_a_thought_is_kept() -> None:
    reply = "<think>Put ##begin_quote## first.</think>\n##begin_quote##y##end_quote##"
    assert drop_thoughts(reply) == ("##begin_quote##y##end_quote##", True)


def test_many_tags_take_linear_time() -> None:
    started = time.monotonic()
    for text in ("<think>\n" * 20_000, "</think>" * 20_000, "##begin_quote##" * 20_000, "<think x" * 20_000):
        drop_thoughts(text)
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["<think>", "a", "</think>", "\n\nB", " c"], ["B", " c"]),
        (["B", " <think>"], ["B", " <think>"]),
        (["<b>", "bold</b>", " and more than a tag"], ["<b>bold</b> and more than a tag"]),
        (["<think>a"], []),
        ([], []),
    ],
)
def test_a_stream_is_held_back_only_while_the_model_thinks(pieces: list[str], shown: list[str]) -> None:
    assert list(stream_answer_only(pieces)) == shown
