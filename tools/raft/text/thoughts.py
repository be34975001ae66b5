"""Leave out of a reply what a reasoning model thought before it answered."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ..raft_format import BEGIN_QUOTE, END_QUOTE

_NAME = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning)"
# An opening tag counts at the start of a line only; a closing tag anywhere, since chat templates of several
# models put the opening one into the prompt.
_TAG = re.compile(
    rf"^[ \t]*(?:<{_NAME}(?:\s[^<>\n]*)?>|\[THINK\]|◁think▷|<\|START_THINKING\|>)"
    rf"|(?P<closing></{_NAME}\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>)",
    re.IGNORECASE | re.MULTILINE,
)
_CLOSES = re.compile(r"[>\]▷]")  # the last character of every tag
_LONGEST_TAG = 24  # characters of an opening tag
# gpt-oss names the channel of each message, and thinks in any but "final". Servers that drop its special
# tokens leave the names alone: "analysisThe user … assistantfinalThe answer".
_CHANNEL = re.compile(
    r"(?:<\|channel\|>|\A)\s*(analysis|commentary|final)\b[^<]*(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_BARE_CHANNELS = re.compile(r"\Aanalysis(?=\S).*assistantfinal", re.DOTALL)
_QUOTE = re.compile(
    rf"{BEGIN_QUOTE}(?:(?!{BEGIN_QUOTE}|{END_QUOTE}).)*{END_QUOTE}", re.DOTALL | re.IGNORECASE
)


def drop_thoughts(reply: str) -> tuple[str, bool]:
    """Return a reply without the model's thoughts, and whether it held any.

    A thought that is not closed was cut off: all that follows belongs to it. Tags inside a quote are the
    document's own. A reply without thoughts is returned unchanged.
    """
    if _CHANNEL.search(reply):
        return _final_channel(reply), True
    if bare := _BARE_CHANNELS.match(reply):
        return reply[bare.end() :].strip(), True
    # The same offsets as in the reply.
    unquoted = _QUOTE.sub(lambda quote: " " * len(quote.group()), reply)
    kept: list[str] = []
    opened: int | None = None
    end = 0
    thought = False
    for tag in _TAG.finditer(unquoted):
        if tag["closing"]:
            if opened is None:  # the opening tag stood in the prompt: all before this one was thought
                kept.clear()
            opened, end, thought = None, tag.end(), True
        elif opened is None:
            kept.append(reply[end : tag.start()])
            opened, thought = tag.start(), True
    if opened is None:
        kept.append(reply[end:])
    # Only the left end is stripped, since of a stream there is more to come.
    return ("".join(kept).lstrip(), True) if thought else (reply, False)


class AnswerOnly:
    """Lets the pieces of a reply pass as they arrive, without a thought that it starts with.

    A thought whose opening tag stood in the prompt cannot be told from an answer before it ends.
    """

    def __init__(self) -> None:
        self._held, self._thinking, self._started = "", False, False

    def add(self, piece: str) -> str:
        """Return what may be shown now that this piece has arrived; empty while the model may be thinking."""
        if self._started:
            return piece
        self._held += piece
        # Looking through all of a long thought for each of its pieces would take quadratic time.
        if self._thinking and not _CLOSES.search(self._held[-len(piece) - _LONGEST_TAG :]):
            return ""
        text, self._thinking = drop_thoughts(self._held)
        start = self._held.lstrip()
        if text.strip() and (self._thinking or start[0] not in "<[◁" or len(start) > _LONGEST_TAG):
            self._started = True
            return text
        return ""

    def end(self) -> str:
        """Return what is left to be shown when the reply is complete."""
        return "" if self._started else drop_thoughts(self._held)[0]


def stream_answer_only(pieces: Iterable[str]) -> Iterator[str]:
    """Yield the pieces of a reply as they arrive, without a thought that it starts with."""
    answer = AnswerOnly()
    yield from filter(None, map(answer.add, pieces))
    if left := answer.end():
        yield left


def _final_channel(reply: str) -> str:
    """Return the messages of the channel "final"."""
    finals = []
    for message in _CHANNEL.finditer(reply):
        end = _MESSAGE_END.search(reply, message.end())
        if message[1] == "final":
            finals.append(reply[message.end() : end.start() if end else len(reply)].strip())
    return "\n".join(finals)
