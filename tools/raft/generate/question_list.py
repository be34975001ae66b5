"""Parse the list of questions that a model wrote."""

from __future__ import annotations

import json
import re

_FENCE = re.compile(r"^\s*```\w*\s*$", re.MULTILINE)
# "3." "3)" "Q3:" "- " "* " "Question 3:" and their bold forms, before an item of a list.
_BULLET = re.compile(
    r"^\s*(?:[-*•–]\s+|\**\(?(?:Q|Question|Frage|Task|问题)?\s*\d{1,3}\s*[.):、．：](?!\d)\**\s*|(?:Q|Question)\s*:\s*)+",
    re.I,
)
_PREAMBLE_END = re.compile(r"[:：]\**\s*$")
_MARKS = ("?", "？", "؟", "՞", "⁇")


def parse_questions(text: str) -> list[str]:
    """Parse a list of questions: plain lines, numbered or bulleted lines, or JSON.

    Preambles ("Here are 5 questions:"), code fences, headings and closing remarks are dropped.
    Questions keep their order; repetitions are dropped.
    """
    text = _FENCE.sub("", text).strip()
    items = _parse_json_list(text)
    if items is None:
        items = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    items = [_BULLET.sub("", item).strip().strip("*").strip() for item in items]
    items = [item for item in items if item and not _PREAMBLE_END.search(item)]
    # If some items end in a question mark, a line without one is text around the list.
    if any(ends_in_question_mark(item) for item in items):
        items = [item for item in items if ends_in_question_mark(item)]
    return list(dict.fromkeys(items))


def ends_in_question_mark(question: str) -> bool:
    """Return whether a question ends in a question mark of any script."""
    return question.rstrip(" \"'”’»」』)）").endswith(_MARKS)


def count_question_marks(question: str) -> int:
    """Count the question marks; a run such as "??" counts as one."""
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
