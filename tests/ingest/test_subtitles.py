"""Subtitles of talks become running text."""

from __future__ import annotations

import pytest

from tools.raft.ingest.formats.parsed import Parsed, Unreadable, count_characters
from tools.raft.ingest.formats.subtitles import read_subtitles


def subtitles(text: str) -> Parsed:
    parsed = read_subtitles(text.encode())
    assert parsed["seen"] == count_characters(parsed["text"]) + sum(parsed["left_out"].values())
    return parsed


def test_cues_run_on_and_a_pause_begins_a_paragraph() -> None:
    text = (
        "1\r\n00:00:01,000 --> 00:00:02,000\r\n<i>The weir holds</i>\r\n\r\n"
        "2\r\n00:00:02,500 --> 00:00:03,000\r\n\r\n"  # shows nothing
        "3\r\n00:00:03,100 --> 00:00:04,000\r\n{\\an8}40 tonnes,\r\nif 5 < 6.\r\n"
        "4\r\n00:00:04,000 --> 00:00:05,000\r\nSo it is.\r\n\r\n"
        "5\r\n00:01:00,000 --> 00:01:02,000\r\n1999\r\n"
    )
    assert subtitles(text)["text"] == "The weir holds 40 tonnes, if 5 < 6. So it is.\n\n1999"


def test_speakers_are_named_where_they_change() -> None:
    text = (
        "WEBVTT - a talk\n\nNOTE nobody sees this\n\nSTYLE\n::cue { color: red }\n\n"
        "intro\n00:01.000 --> 00:02.000 align:start\n<v Ann Author>Q&amp;A <b>now</b>?</v> <v.loud Ben>Yes.\n\n"
        "00:02.100 --> 00:03.000\n<v Ben>Begin.</v>\n"
    )
    assert subtitles(text)["text"] == "Ann Author: Q&A now?\n\nBen: Yes. Begin."


def test_a_line_shown_again_while_the_next_is_written_is_kept_once() -> None:
    text = """WEBVTT
Kind: captions

00:00:00.160 --> 00:00:02.389 align:start position:0%
\x20
hello<00:00:00.480><c> and</c><00:00:00.800><c> welcome</c>

00:00:02.389 --> 00:00:02.399 align:start position:0%
hello and welcome
\x20

00:00:02.399 --> 00:00:04.000 align:start position:0%
hello and welcome
to<00:00:02.500><c> the</c> talk

00:00:04.500 --> 00:00:05.000
to the talk
"""
    parsed = subtitles(text)
    assert parsed["text"] == "hello and welcome to the talk to the talk"  # said again half a second later
    assert parsed["left_out"] == {"lines shown again": 30}


def test_a_file_without_times_is_no_subtitles() -> None:
    with pytest.raises(Unreadable, match="no subtitles"):
        read_subtitles(b"WEBVTT\n\nJust words.\n")
