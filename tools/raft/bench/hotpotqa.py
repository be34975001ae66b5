"""HotpotQA (Yang et al., EMNLP 2018), distractor setting: answers that need two of ten paragraphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluate.hotpot import Fact, score_hotpot
from ..ingest.chunks import make_chunk
from ..records import Chunk, content_id
from ..text.normalise import normalise
from ..text.sanitize import sanitize, sanitize_line
from .data import find_file, need_file, read_rows
from .questions import Collection, Question

_FIELDS = ("_id", "question", "answer", "supporting_facts", "context")
_NAMES = {
    "em": "exact_match",
    "f1": "f1",
    "sp_em": "facts_exact",
    "sp_f1": "facts_f1",
    "joint_em": "joint_exact",
    "joint_f1": "joint_f1",
}


def read_hotpotqa(folder: Path) -> Collection:
    """Read the questions with their paragraphs and supporting facts.

    Files: hotpot_dev_distractor_v1.json and, if there, hotpot_train_v1.1.json as published, or
    hotpotqa_100.json in the same form. Raises UserError if they are missing.
    """
    documents: dict[str, Chunk] = {}
    left_out: Counter[str] = Counter()
    path = need_file(folder, "hotpot_dev_distractor_v1.json", "hotpotqa_100.json")
    test = _read_questions(read_rows(path, *_FIELDS), documents, left_out)
    train = find_file(folder, "hotpot_train_v1.1.json")
    return Collection(
        documents,
        test,
        _read_questions(read_rows(train, *_FIELDS), documents, left_out) if train else (),
        left_out=left_out,
    )


def score_answer(question: Question, row: Mapping[str, Any]) -> dict[str, float]:
    """Score an answer and, if it had documents, the facts that it quotes, as HotpotQA's own script does."""
    facts = _quoted_facts(question, row["citations"]) if row["documents"] else None
    scores = score_hotpot(row["answer"], question.answer, facts, question.about["facts"])
    shown = _NAMES if facts is not None else ("em", "f1")
    return {_NAMES[name]: scores[name] for name in shown}


def _read_questions(
    rows: Sequence[Mapping[str, Any]], documents: dict[str, Chunk], left_out: Counter[str]
) -> list[Question]:
    questions = []
    for row in rows:
        paragraphs = {}
        for title, sentences in row["context"]:
            chunk = _make_paragraph(title, sentences)
            documents[chunk["id"]] = chunk
            paragraphs[title] = chunk["id"], [sanitize_line(sentence) for sentence in sentences]
        facts = [(title, number) for title, number in row["supporting_facts"] if title in paragraphs]
        quotes = {
            (title, number): paragraphs[title][1][number]
            for title, number in facts
            if number < len(paragraphs[title][1])
        }
        if len(quotes) < len(row["supporting_facts"]):
            left_out["a supporting fact is not in its paragraphs"] += 1
            continue
        asked = sanitize_line(row["question"])
        ids = tuple(id for id, _ in paragraphs.values())
        questions.append(
            Question(
                id=row["_id"],
                text=asked,
                query=asked,
                answer=sanitize_line(row["answer"]),
                oracles=tuple(dict.fromkeys(paragraphs[title][0] for title, _ in facts)),
                quotes=tuple(dict.fromkeys(quotes.values())),
                group=row["_id"],
                documents=ids,
                about={"facts": list(quotes), "sentences": dict(paragraphs.values())},
            )
        )
    return questions


def _make_paragraph(title: str, sentences: Sequence[str]) -> Chunk:
    text = "".join(sentences).strip()
    id = content_id("hotpotqa", title, text)
    return make_chunk(f"{title}\n{text}", title=title, source=sanitize(title), page=None, kind="text", id=id)


def _quoted_facts(question: Question, citations: Sequence[Mapping[str, Any]]) -> set[Fact]:
    """Return the sentences that verbatim quotes are, hold or are part of."""
    facts = set()
    for citation in citations:
        quote = normalise(citation["quote"])
        for number, sentence in enumerate(question.about["sentences"].get(citation["id"], ())):
            normal = normalise(sentence)
            if normal and (normal in quote or quote in normal):
                facts.add((citation["title"], number))
    return facts
