"""Read questions from a JSONL file, whatever else its rows hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import UserError


def read_question_rows(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, each an object with at least a `question`.

    Raises UserError naming the line that cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; want a JSONL file of questions") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save the questions file as UTF-8") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        question = row.get("question") if isinstance(row, dict) else None
        if not isinstance(question, str) or not question.strip():
            raise UserError(
                f'{path}, line {number}: want a JSON object with a "question", such as {{"question": "…"}}'
            )
        rows.append(row)
    if not rows:
        raise UserError(f"{path}: no questions in it")
    return rows
