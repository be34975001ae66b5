"""Read subtitles: SubRip (.srt) and WebVTT (.vtt, https://www.w3.org/TR/webvtt1/), as of recorded talks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from html import unescape
from typing import NamedTuple

from ...text.sanitize import unify_line_ends
from .parsed import Parsed, Unreadable, count_characters, make_parsed
from .plain import decode

_PAUSE = 3.0  # seconds without words after which a paragraph begins
_ADJACENT = 0.1  # seconds between two cues of which the second goes on with the lines of the first
_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{2})[.,](\d{1,3})"
_TIMES = re.compile(rf"[ \t]*{_TIME}[ \t]*-->[ \t]*{_TIME}(?:[ \t].*)?")
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")
_MARKUP = re.compile(r"</?[A-Za-z][^<>\n]*>|<[\d:.]+>|\{\\[^{}\n]*\}")


class Cue(NamedTuple):
    """What is shown at a time, in seconds."""

    start: float
    end: float
    speaker: str
    lines: list[str]


def read_subtitles(data: bytes) -> Parsed:
    """Read subtitles as running text, in paragraphs parted by pauses and speakers, without times.

    Captions made while somebody speaks show a line again while the next one is written: it is kept once.
    Raises Unreadable if it cannot be decoded, or holds no times.
    """
    text = unify_line_ends(decode(data))
    paragraphs: list[str] = []
    left_out: Counter[str] = Counter()
    seen, last = 0, Cue(0.0, 0.0, "", [])
    for cue in _read_cues(text):
        seen += sum(map(count_characters, cue.lines))
        lines = list(cue.lines)
        while lines and lines[0] in last.lines and cue.start - last.end < _ADJACENT:
            left_out["lines shown again"] += count_characters(lines.pop(0))
        if lines:
            said = " ".join(lines)
            speaks = cue.speaker and cue.speaker != last.speaker
            if speaks:
                seen += count_characters(cue.speaker)
                said = f"{cue.speaker}: {said}"
            if paragraphs and not speaks and cue.start - last.end < _PAUSE:
                paragraphs[-1] += " " + said
            else:
                paragraphs.append(said)
        last = cue
    if not seen:
        raise Unreadable("broken: no subtitles in it")
    return make_parsed("\n\n".join(paragraphs), left_out=left_out, seen=seen)


def _read_cues(text: str) -> Iterator[Cue]:
    """Yield what is shown, in the order of the file: the lines below a time, up to an empty one."""
    times: re.Match[str] | None = None
    shown: list[str] = []
    for line in [*text.split("\n"), ""]:
        next_times = _TIMES.fullmatch(line)
        if next_times and shown and shown[-1].strip().isdecimal():
            shown.pop()  # the number of the next cue, with no empty line before it
        if times and (next_times or not line):
            yield from _split_by_voice(times, "\n".join(shown))
            times = None
        if next_times:
            times, shown = next_times, []
        elif times:
            shown.append(line)


def _split_by_voice(times: re.Match[str], shown: str) -> Iterator[Cue]:
    start, end = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
    first, *others = _VOICE.split(shown)
    for speaker, said in [("", first), *zip(others[::2], others[1::2], strict=True)]:
        lines = [" ".join(unescape(_MARKUP.sub("", line)).split()) for line in said.split("\n")]
        if any(lines):
            yield Cue(start, end, " ".join(speaker.split()), list(filter(None, lines)))


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, fraction = (part or "0" for part in parts)
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")
