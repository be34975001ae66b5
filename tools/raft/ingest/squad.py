"""Read question-answering data in SQuAD format, and find the place of each answer in its paragraph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from ..errors import UserError
from ..files import BOM
from ..text.locate import locate_answer
from ..text.sanitize import sanitize

_WANT = "want articles with paragraphs, or rows with context, question and answers"


@dataclass(frozen=True)
class Question:
    """A question, and the answers to it that stand in its paragraph: offset and text of each, best first."""

    text: str
    answers: list[tuple[int, str]]


class LeftOut(TypedDict):
    """A question that becomes no row, and why."""

    question: str
    source: str
    reason: str


@dataclass(frozen=True)
class Paragraph:
    """A text with questions that people asked about it."""

    title: str
    text: str
    questions: list[Question] = field(default_factory=list)


def read_paragraphs(path: Path) -> tuple[list[Paragraph], list[LeftOut]]:
    """Read question-answering data in SQuAD format; also return the questions left out, with their reasons.

    The format is that of SQuAD 1.1 or 2.0, of a list of such articles, or of rows (JSON lines or a list) that
    each have a context and its question, as data-set libraries export them. Raises UserError for any other.
    """
    paragraphs: dict[tuple[str, str], Paragraph] = {}
    left_out: list[LeftOut] = []
    for place, title, context, qas in _walk(_read(path), str(path), ""):
        if not isinstance(context, str) or not isinstance(qas, list):
            raise UserError(f"{place} is not in SQuAD format: it has no context with questions; {_WANT}")
        title, text = " ".join(sanitize(title).replace("_", " ").split()), sanitize(context)
        paragraph = paragraphs.setdefault((title, text), Paragraph(title, text))
        for qa in qas:
            if not isinstance(qa, Mapping) or not isinstance(qa.get("question"), str):
                raise UserError(f"{place} is not in SQuAD format: a question has no text; {_WANT}")
            question, reason = _read_question(qa, text)
            if reason:
                left_out.append({"question": question.text, "source": title, "reason": reason})
            else:
                paragraph.questions.append(question)
    if not paragraphs:
        raise UserError(f"{path} is not in SQuAD format: it holds no paragraphs; {_WANT}")
    return list(paragraphs.values()), left_out


def find_sentence(question: Question, spans: Sequence[tuple[int, int, str]]) -> tuple[str, str] | None:
    """Return the first sentence that holds an answer whole, and that answer on one line; None without one.

    spans: those of the paragraph, as `sentence_spans` yields them.
    """
    for start, found in question.answers:
        answer, stop = flat(found), start + len(found)
        sentence = next((text for begin, end, text in spans if begin <= start and stop <= end), "")
        if answer in sentence:
            return sentence, answer
    return None


def flat(text: str) -> str:
    """Return a text on one line, as sentences are quoted."""
    return " ".join(text.split())


def _read(path: Path) -> Any:
    """Return the JSON of a file, or the list of its JSON lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; pass a file in SQuAD format") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save it as UTF-8") from None
    try:
        return json.loads(text)
    except ValueError as error:
        first = error
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip(f"{BOM} \t\r"):
            try:
                rows.append(json.loads(line.removeprefix(BOM)))
            except ValueError:
                # One object over several lines is JSON with a fault, not JSON lines.
                place = f"line {number}" if rows else f"line {getattr(first, 'lineno', 1)}"
                raise UserError(f"{path}, {place}: not JSON; pass a file in SQuAD format") from None
    return rows


def _walk(value: Any, place: str, title: str) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield place, title, context and questions of each paragraph, at whatever level they stand."""
    if isinstance(value, list):
        for number, entry in enumerate(value, start=1):
            yield from _walk(entry, f"{place}, entry {number}", title)
        return
    if not isinstance(value, Mapping):
        raise UserError(f"{place} is not in SQuAD format: {_WANT}")
    title = value["title"] if isinstance(value.get("title"), str) else title
    for key in ("data", "paragraphs"):
        if isinstance(value.get(key), list):
            yield from _walk(value[key], place, title)
            return
    if "header" in value and "context" not in value:  # the first line of MRQA's files
        return
    yield place, title, value.get("context"), value.get("qas", [value] if "question" in value else None)


def _read_question(qa: Mapping[str, Any], text: str) -> tuple[Question, str]:
    """Return a question with its answers found in the text, or the reason why it is left out."""
    question = Question(sanitize(qa["question"]).strip(), [])
    if not question.text:
        return question, "the question is empty"
    if qa.get("is_impossible") is True:
        return question, "the paragraph does not answer it, as its is_impossible says"
    answers = [(answer, start) for answer, start in _answers(qa.get("answers", qa.get("answer"))) if answer]
    if not answers:
        return question, "it has no answer"
    for answer, start in answers:
        found = locate_answer(sanitize(answer), text, start)
        if found and found not in question.answers:
            question.answers.append(found)
    return question, "" if question.answers else "the answer stands nowhere in its paragraph"


def _answers(value: Any) -> Iterator[tuple[str, int | None]]:
    """Yield the text of each answer with the offset it is said to have."""
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        texts = texts if isinstance(texts, list) else [texts]
        starts = starts if isinstance(starts, list) else [starts]
        for i, text in enumerate(texts):
            yield _text(text), _offset(starts[i] if i < len(starts) else None)
    elif isinstance(value, list):
        for entry in value:
            yield from _answers(entry)
    else:
        yield _text(value), None


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _offset(value: Any) -> int | None:
    """Return an offset, None if there is none; -1 stands for an unknown one."""
    try:
        return offset if (offset := int(value)) >= 0 else None
    except (TypeError, ValueError, OverflowError):
        return None
