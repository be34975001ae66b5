"""The RAFT text format: documents and question in the prompt, quotes and final answer in the reply."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from .errors import UserError
from .prompts import render

# Everything below follows from these three; the prompts contain them literally.
BEGIN_QUOTE, END_QUOTE, ANSWER_TAG = "##begin_quote##", "##end_quote##", "<ANSWER>:"

_BEGIN, _END, _TAG = (re.escape(marker.strip("#<>:")) for marker in (BEGIN_QUOTE, END_QUOTE, ANSWER_TAG))
# The same markers, in the variants that models write.
TAG = re.compile(rf"\**<{_TAG}>\**\s*[:：]?\**[ \t]*", re.IGNORECASE)
_CLOSING_TAG = re.compile(rf"</{_TAG}>", re.IGNORECASE)
QUOTE = re.compile(rf"##\s*{_BEGIN}\s*##(.*?)##\s*{_END}\s*##", re.DOTALL | re.IGNORECASE)
MARKER = re.compile(rf"##\s*(?:{_BEGIN}|{_END})\s*##", re.IGNORECASE)

# The first character of what untrusted text must not contain: these tags, and the markers that chat templates
# turn into roles. text/sanitize.py defuses them.
RESERVED = re.compile(
    rf"<(?=(?:/\s*)?(?:DOCUMENT|{_TAG}|s)\s*>)"
    r"|<(?=\||</?\s*SYS)"
    r"|\[(?=/?INST\s*\])"
    rf"|#(?=#\s*(?:{_BEGIN}|{_END}))",
    re.IGNORECASE,
)

_DOCUMENT = re.compile(r"^<DOCUMENT>(.*?)</DOCUMENT>$", re.DOTALL | re.MULTILINE)

REFUSAL = "refusal.jinja2"


class FormatError(str, Enum):
    """Why a reply is not a RAFT answer; the values appear in rejected.jsonl and in notes."""

    MISSING_TAG = f"no {ANSWER_TAG[:-1]} tag"
    SEVERAL_TAGS = f"several {ANSWER_TAG[:-1]} tags"
    EMPTY_ANSWER = "empty final answer"
    QUOTE_IN_ANSWER = "quote inside the final answer"
    UNBALANCED_MARKERS = "unbalanced quote markers"
    NO_QUOTE = "no quote"
    EMPTY_QUOTE = "empty quote"
    NOT_VERBATIM = "quote is not verbatim"
    UNQUOTED_ORACLE = "no quote from one of its documents"
    TRUNCATED = "truncated answer"
    THOUGHT_ONLY = "reasoning cut off before an answer"  # as models write it that think before they answer

    __str__ = str.__str__


@dataclass(frozen=True)
class Answer:
    """A chain-of-thought answer, parsed."""

    reasoning: str  # everything before the tag, quote markers included
    quotes: tuple[str, ...]
    final: str

    @property
    def text(self) -> str:
        """Return the answer in canonical form, with the tag on a line of its own."""
        return f"{self.reasoning}\n{ANSWER_TAG} {self.final}"


def parse_answer(text: str) -> Answer | FormatError:
    """Parse a chain-of-thought answer, or return the reason why it cannot be parsed."""
    parts = TAG.split(text.strip())
    if len(parts) == 1:
        return FormatError.MISSING_TAG
    if len(parts) > 2:
        return FormatError.SEVERAL_TAGS
    reasoning = parts[0].strip()
    final = _CLOSING_TAG.sub("", parts[1]).strip().strip("*").strip()
    if not final:
        return FormatError.EMPTY_ANSWER
    if MARKER.search(final):
        return FormatError.QUOTE_IN_ANSWER
    quotes = tuple(match.group(1).strip() for match in QUOTE.finditer(reasoning))
    if len(quotes) * 2 != len(MARKER.findall(reasoning)) or any(MARKER.search(quote) for quote in quotes):
        return FormatError.UNBALANCED_MARKERS
    return Answer(reasoning, quotes, final)


def format_documents(documents: Iterable[str]) -> str:
    """Wrap each document in its tags and join them."""
    return "".join(f"<DOCUMENT>{document}</DOCUMENT>\n" for document in documents)


def parse_documents(instruction: str) -> list[str]:
    """Return the documents of an instruction, as `format_instruction` wrote them."""
    return _DOCUMENT.findall(instruction)


def format_instruction(documents: Iterable[str], question: str) -> str:
    """Format documents and question as the model reads them, in training and at inference."""
    return format_documents(documents) + question


def refusal() -> Answer:
    """Return the label of a row whose question should be refused, from prompts/refusal.jinja2."""
    answer = parse_answer(render(REFUSAL)[0]["content"])
    if isinstance(answer, FormatError):
        raise UserError(
            f"prompts/{REFUSAL}: {answer}; end it with a line such as '{ANSWER_TAG} I do not know.'"
        )
    return answer
