"""Read question rows: the question, and its right answers under any of the usual names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_jsonl

# As in questions files, SQuAD, the rows of a dataset and its eval files; the first that is there counts.
_ANSWER_FIELDS = ("answers", "answer", "golds", "gold", "final_answer", "gold_final_answer")


def read_questions(path: Path) -> list[dict[str, Any]]:
    """Read questions: JSON lines, each an object with at least a `question`.

    Raises UserError naming the line that cannot be read.
    """
    want = 'want a JSON object with a "question", such as {"question": "…"}'
    rows = []
    for number, row in read_jsonl(path, want=want, what="the questions file"):
        question = row.get("question")
        if not isinstance(question, str) or not question.strip():
            raise UserError(f"{path}, line {number}: {want}")
        rows.append(row)
    if not rows:
        raise UserError(f"{path} contains no questions")
    return rows


def gold_answers(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the right answers of a question row; None if they are unknown, () if it has no answer.

    They are in `answers`, `answer`, `golds`, `gold`, `final_answer` or `gold_final_answer`: a string, a
    number or a truth value, a list of these or of {"text": …}, or {"text": [...]} as in SQuAD. A field that
    is null, NaN or an empty string says nothing. An empty list, `answerable: false` and `is_impossible: true`
    say that no document answers the question. Raises UserError for anything else.
    """
    if row.get("answerable") is False or row.get("is_impossible") is True:
        return ()
    values = (row.get(name) for name in _ANSWER_FIELDS)
    known = [value for value in values if value is not None and value != "" and value == value]
    if not known:
        return None
    texts = _texts(known[0])
    if texts is None:
        question = str(row.get("question"))[:60]
        raise UserError(f"question {question!r}: the answer must be a string, a number or a list of them")
    return tuple(text for text in dict.fromkeys(texts) if text.strip())


def named_oracles(row: Mapping[str, Any]) -> list[str]:
    """Return the ids or sources under `oracles`: those of all documents that are needed for the answer.

    Empty if there are none. Raises UserError unless they are strings.
    """
    value = row.get("oracles")
    if value is None or value == [] or value == "" or value != value:
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) and n.strip() for n in names):
        question = str(row.get("question"))[:60]
        raise UserError(f'question {question!r}: "oracles" must list the ids or sources of its documents')
    return list(dict.fromkeys(names))


def _texts(value: Any) -> list[str] | None:
    """Return the texts of an answer in any of its forms, None if it has none of them."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, (bool, int, float)):
        return [json.dumps(value)]
    if isinstance(value, Mapping) and "text" in value:
        return _texts(value["text"])
    if isinstance(value, (list, tuple)):
        texts = [_texts(entry) for entry in value]
        return None if None in texts else [text for entry in texts for text in entry or ()]
    return None
