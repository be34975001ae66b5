"""Read what a model wrote: lists of questions, and answers with quotes and a final line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from .records import content_id
from .safe import fold

BEGIN_QUOTE, END_QUOTE, ANSWER_TAG = "##begin_quote##", "##end_quote##", "<ANSWER>:"
# The same as models write them.
TAG = re.compile(r"\**<ANSWER>\**\s*[:：]?\**[ \t]*", re.IGNORECASE)
QUOTE = re.compile(r"##\s*begin_quote\s*##(.*?)##\s*end_quote\s*##", re.DOTALL | re.IGNORECASE)
MARKER = re.compile(r"##\s*(?:begin|end)_quote\s*##", re.IGNORECASE)

_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
# "3." "3)" "Q3:" "- " "* " "Question 3:" and their bold forms, in front of an item of a list.
_BULLET = re.compile(
    r"^\s*(?:[-*•–]\s+|\**\(?(?:Q|Question|Frage|Task|问题)?\s*\d{1,3}\s*[.):、．：](?!\d)\**\s*|(?:Q|Question)\s*:\s*)+",
    re.I,
)
_PREAMBLE_END = re.compile(r"[:：]\**\s*$")
_MARKS = ("?", "？", "؟", "՞", "⁇")


def parse_questions(text: str) -> list[str]:
    """Read a list of questions: plain lines, numbered or bulleted lines, or JSON.

    Preambles ("Here are 5 questions:"), code fences, headings and closing remarks are no questions.
    Order is kept, repeats are dropped.
    """
    text = _FENCE.sub("", text).strip()
    items = _parse_json_list(text)
    if items is None:
        items = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    items = [_BULLET.sub("", item).strip().strip("*").strip() for item in items]
    items = [item for item in items if item and not _PREAMBLE_END.search(item)]
    # Where questions carry their mark, a line without one is chatter around the list.
    if any(is_marked(item) for item in items):
        items = [item for item in items if is_marked(item)]
    return list(dict.fromkeys(items))


def is_marked(question: str) -> bool:
    """Tell whether the text ends in a question mark of any script."""
    return question.rstrip(" \"'”’»」』)）").endswith(_MARKS)


def count_marks(question: str) -> int:
    """Count the question marks, runs such as "?!" or "??" as one."""
    return len(re.findall(f"[{''.join(_MARKS)}]+", question))


def _parse_json_list(text: str) -> list[str] | None:
    for opening, closing in (("[", "]"), ("{", "}")):
        start, end = text.find(opening), text.rfind(closing)
        if start < 0 or end <= start:
            continue
        try:
            value = json.loads(text[start : end + 1])
        except ValueError:
            continue
        if isinstance(value, dict):
            value = next((v for v in value.values() if isinstance(v, list)), None)
        if isinstance(value, list):
            strings = [
                v if isinstance(v, str) else v.get("question") for v in value if isinstance(v, (str, dict))
            ]
            return [s for s in strings if isinstance(s, str)]
    return None


@dataclass(frozen=True)
class Answer:
    """A chain-of-thought answer taken apart."""

    reasoning: str  # everything before the tag, quote markers included
    quotes: tuple[str, ...]
    final: str

    @property
    def text(self) -> str:
        """The answer in its one canonical form, the tag on a line of its own."""
        return f"{self.reasoning}\n{ANSWER_TAG} {self.final}"


def parse_answer(text: str) -> Answer | str:
    """Take a chain-of-thought answer apart, or say in a few words why that cannot be done."""
    parts = TAG.split(text.strip())
    if len(parts) == 1:
        return "no <ANSWER> tag"
    if len(parts) > 2:
        return "several <ANSWER> tags"
    reasoning = parts[0].strip()
    final = re.sub(r"</ANSWER>", "", parts[1], flags=re.IGNORECASE).strip().strip("*").strip()
    if not final:
        return "empty final answer"
    if MARKER.search(final):
        return "quote inside the final answer"
    quotes = tuple(match.group(1).strip() for match in QUOTE.finditer(reasoning))
    if len(quotes) * 2 != len(MARKER.findall(reasoning)) or any(MARKER.search(quote) for quote in quotes):
        return "unbalanced quote markers"
    return Answer(reasoning, quotes, final)


def anchor_quotes(answer: Answer, document: str) -> Answer | str:
    """Replace each quote by the document's own characters, or say why it is not verbatim.

    Unicode forms, quotation marks, dashes and white space may differ; words and case may not.
    """
    if not answer.quotes:
        return "no quote"
    anchored = []
    for quote in answer.quotes:
        found = _find(quote, document) or _find(quote.strip("\"'“”‘’«»„「」"), document)
        if not found:
            return "quote is not verbatim" if quote else "empty quote"
        anchored.append(found)
    replacements = iter(anchored)
    reasoning = QUOTE.sub(lambda _: f"{BEGIN_QUOTE}{next(replacements)}{END_QUOTE}", answer.reasoning)
    return Answer(reasoning, tuple(anchored), answer.final)


def _find(quote: str, document: str) -> str:
    """Give the piece of the document that the quote folds to, or nothing."""
    if not quote:
        return ""
    if quote in document:
        return quote
    wanted = fold(quote)
    folded, origin = _fold_with_origins(document)
    at = folded.find(wanted) if wanted else -1
    return document[origin[at] : origin[at + len(wanted) - 1] + 1].strip() if at >= 0 else ""


def _fold_with_origins(document: str) -> tuple[str, list[int]]:
    """Fold a text and give, for each character of the result, the offset it came from."""
    folded: list[str] = []
    origins: list[int] = []
    # A letter and its combining marks fold together, anything else by itself.
    for match in re.finditer(r"(?:\w[\u0300-\u036f\u3099\u309a]+)|.", document, re.DOTALL):
        piece = fold(match.group())
        if not piece and match.group().isspace():
            piece = " " if folded and folded[-1] != " " else ""
        folded.extend(piece)
        # The last character of the piece points at its last character, so that a slice is whole.
        origins.extend([match.start()] * (len(piece) - 1) + [match.end() - 1] if piece else [])
    return "".join(folded), origins


def normalise(text: str) -> str:
    """Fold case, punctuation and white space away, to compare questions and answers."""
    return " ".join(re.findall(r"\w+", fold(text).casefold()))


def question_id(chunk_id: str, question: str, *more: object) -> str:
    """Derive the id of a row from its chunk and question, and what else tells it from others."""
    return content_id("row", chunk_id, question, *more)
