"""Read question-answering data in SQuAD format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError


@dataclass(frozen=True)
class Paragraph:
    """A text with questions that people asked about it."""

    title: str
    text: str
    qas: list[tuple[str, str, int]]  # question, answer, offset of the answer in the text


def read_paragraphs(path: Path) -> list[Paragraph]:
    """Read question-answering data in SQuAD 1.1 format. Raises UserError for any other format."""
    try:
        return [
            Paragraph(
                article.get("title", "").replace("_", " "),
                paragraph["context"],
                [
                    (
                        qa["question"].strip(),
                        qa["answers"][0]["text"].strip(),
                        int(qa["answers"][0]["answer_start"]),
                    )
                    for qa in paragraph["qas"]
                    if qa["answers"]
                ],
            )
            for article in json.loads(path.read_text(encoding="utf-8"))["data"]
            for paragraph in article["paragraphs"]
        ]
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; pass a file in SQuAD format") from None
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is not in SQuAD format ({type(error).__name__}: {error})") from None
