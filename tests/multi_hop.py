"""Convert HotpotQA or MuSiQue into documents and questions, as `generate` takes them.

    python -m tests.multi_hop hotpotqa.json OUT
    python -m tools generate --docs OUT/documents.jsonl --questions-file OUT/questions.jsonl --out DATASET

Every paragraph is a document of its own, and the supporting ones are the oracles of its question.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]


def convert(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Return documents, each once, and questions with their answers and oracles."""
    sources: dict[tuple[str, str], str] = {}
    documents, questions = [], []
    for row in rows:
        oracles = []
        for title, text, supporting in _paragraphs(row):
            if (title, text) not in sources:
                sources[title, text] = f"{len(sources):05d} {title}"
                documents.append({"text": text, "title": title, "source": sources[title, text]})
            if supporting:
                oracles.append(sources[title, text])
        answers = [row["answer"], *row.get("answer_aliases", ())]
        questions.append(
            {
                "question": " ".join(row["question"].split()),
                "answers": answers,
                "answer": answers[0],
                "oracles": oracles,
            }
        )
    return documents, questions


def _paragraphs(row: Row) -> Iterable[tuple[str, str, bool]]:
    if "paragraphs" in row:
        for paragraph in row["paragraphs"]:
            yield paragraph["title"], paragraph["paragraph_text"].strip(), paragraph["is_supporting"]
    else:
        supporting = {title for title, _ in row["supporting_facts"]}
        for title, sentences in row["context"]:
            yield title, "".join(sentences).strip(), title in supporting


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    text = options.file.read_text(encoding="utf-8")
    rows = json.loads(text) if text.lstrip().startswith("[") else [*map(json.loads, text.splitlines())]
    options.out.mkdir(parents=True, exist_ok=True)
    for name, converted in zip(("documents", "questions"), convert(rows), strict=True):
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in converted)
        (options.out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
