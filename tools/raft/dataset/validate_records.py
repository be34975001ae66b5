"""Vet RAFT records: each by itself, against those before it, and all of them as a sample."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

from ..raft_format import parse_answer
from ..records import FIELDS, content_id, question_id
from ..text.normalise import fold, normalise

Severity = Literal["error", "warning", "note"]

_NEVER_EMPTY = ("question", "oracle_context", "cot_answer", "instruction", "final_answer", "chunk_id")
_SHOWN = 10  # findings of one kind in one file before the rest are only counted
_UNLIKELY = 1e-6  # a share this improbable under its binomial is no accident

Row = Mapping[str, Any]


class Report:
    """Findings so far; each kind is shown a few times a file, the rest of it counted."""

    def __init__(self) -> None:
        self._findings: list[tuple[Severity, str, int, str]] = []
        self._times: Counter[tuple[Severity, str, str]] = Counter()
        self._owners: dict[str, tuple[str, str, int]] = {}
        self._texts: dict[str, str] = {}

    def add(self, severity: Severity, file: str, line: int, kind: str, detail: str = "") -> None:
        """Add a finding; line 0 stands for the file as a whole."""
        self._times[severity, file, kind] += 1
        if self._times[severity, file, kind] <= _SHOWN:
            self._findings.append((severity, file, line, kind + (f": {detail}" if detail else "")))

    def claim(self, thing: str, split: str, file: str, line: int) -> tuple[str, str] | None:
        """Note that a row holds something; give (split, place) of the first row that held it before."""
        first = self._owners.setdefault(thing, (split, file, line))
        return None if first == (split, file, line) else (first[0], f"{first[1]}:{first[2]}")

    def text_id(self, text: str) -> str:
        """Give an id that texts share when they fold to the same; each text is folded once."""
        key = content_id(text)
        if key not in self._texts:
            self._texts[key] = content_id(fold(text))
        return self._texts[key]

    def close(self) -> list[tuple[Severity, str, int, str]]:
        """Give the findings in the order they came, then what was only counted."""
        more = [
            (severity, file, 0, f"{kind}: {times - _SHOWN} more such lines")
            for (severity, file, kind), times in self._times.items()
            if times > _SHOWN
        ]
        return self._findings + more


class Sample:
    """Count the records of a file, their questions, and where the oracles stand."""

    def __init__(self) -> None:
        self.rows: Counter[bool] = Counter()  # by has_oracle
        self.places: Counter[tuple[int, int]] = Counter()  # (documents in the row, place of the oracle)
        self.questions: set[str] = set()  # each once, whatever the rounds
        self._seen: set[tuple[str, ...]] = set()

    def add(self, row: Row) -> None:
        """Count one record; the place of the oracle once for all rows about the same documents."""
        self.rows[row["has_oracle"]] += 1
        self.questions.add(question_id(row["chunk_id"], row["question"]))
        drawn = (row["chunk_id"], *sorted(row["distractor_ids"]))
        if row["has_oracle"] and drawn not in self._seen:
            self._seen.add(drawn)
            self.places[len(documents_of(row)), row["oracle_index"]] += 1


def documents_of(row: Row) -> list[str]:
    """Give the documents of a record in their order."""
    return [document for documents in row["context"]["sentences"] for document in documents]


def validate_record(row: Row, split: str, file: str, line: int, report: Report) -> bool:
    """Vet one record by itself and against those before it; tell whether its fields are sound."""

    def error(kind: str, detail: str = "") -> None:
        report.add("error", file, line, kind, f"{detail} (row {row.get('id', '?')})".lstrip())

    if misfit := _misfit(row):
        error(misfit)
        return False
    documents, index = documents_of(row), row["oracle_index"]
    if row["split"] != split:
        error("the row belongs to another split", row["split"])
    if len({report.text_id(document) for document in documents}) < len(documents):
        error("the same document twice in one row")
    if row["has_oracle"]:
        if index is None or not 0 <= index < len(documents) or documents[index] != row["oracle_context"]:
            error("the oracle is not where oracle_index says", str(index))
    elif index is not None or row["oracle_context"] in documents:
        error("the oracle is among the documents though has_oracle is false")
    if row["chunk_id"] in row["distractor_ids"]:
        error("the oracle is among its own distractors", row["chunk_id"])
    if len(set(row["distractor_ids"])) + row["has_oracle"] != len(documents):
        error(
            "documents and distractor_ids do not match", f"{len(documents)} and {len(row['distractor_ids'])}"
        )
    instruction = row["instruction"]
    if not instruction.rstrip().endswith(row["question"].strip()) or not all(
        d in instruction for d in documents
    ):
        error("the instruction lacks a document or does not end in the question")
    answer = parse_answer(row["cot_answer"])
    if isinstance(answer, str):
        error(f"answer: {answer}")
    _validate_leaks(row, documents, split, file, line, report)
    return True


def _validate_leaks(row: Row, documents: list[str], split: str, file: str, line: int, report: Report) -> None:
    """Vet that nothing of this record stands in another split, and its question nowhere else."""
    held = [("chunk", chunk_id) for chunk_id in (row["chunk_id"], *row["distractor_ids"])]
    held += [("document", report.text_id(document)) for document in (row["oracle_context"], *documents)]
    for thing, value in held:
        before = report.claim(f"{thing} {value}", split, file, line)
        if before and before[0] != split:
            detail = f"{value} also stands in {before[1]} (row {row['id']})"
            report.add("error", file, line, f"{thing} of two splits", detail)
    asked = f"question {content_id(normalise(row['question']))}"
    question = report.claim(asked, split, file, line)
    # Once more of its chunk with other documents is a round of the dataset, anything else a repetition.
    of_chunk = report.claim(f"{asked} of {row['chunk_id']}", split, file, line)
    as_is = report.claim(f"{asked} of {row['chunk_id']} in {documents}", split, file, line)
    if question and question[0] != split:
        report.add("error", file, line, "question of two splits", f"also in {question[1]} (row {row['id']})")
    elif question and (as_is or not of_chunk):
        report.add("warning", file, line, "the same question again", f"as in {question[1]} (row {row['id']})")
    if before := report.claim(f"id {row['id']}", split, file, line):
        report.add("error", file, line, "the same id again", f"{row['id']} as in {before[1]}")


def _misfit(row: Row) -> str:
    """Say which field of a record is missing, unknown, empty or of the wrong type."""
    if missing := FIELDS.keys() - row.keys():
        return f"field {sorted(missing)[0]} is missing"
    if unknown := row.keys() - FIELDS.keys():
        return f"field {sorted(unknown)[0]} is unknown"
    for name, (kind, nullable) in FIELDS.items():
        value: Any = row[name]
        if value is None and nullable:
            continue
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            return f"field {name} is no {kind.__name__}"
        if name in _NEVER_EMPTY and not row[name].strip():
            return f"field {name} is empty"
    sentences = row["context"].get("sentences")
    if not isinstance(sentences, list) or not all(
        isinstance(inner, list) and all(isinstance(document, str) for document in inner)
        for inner in sentences
    ):
        return "field context has no list of lists of documents"
    return ""


def validate_positions(sample: Sample, file: str, report: Report) -> None:
    """Vet that the oracle stands at a uniformly random place among the documents."""
    for width in sorted({width for width, _ in sample.places if width > 1}):
        rows = sum(times for (w, _), times in sample.places.items() if w == width)
        for place in range(width):
            times = sample.places[width, place]
            if binomial_tail(times, rows, 1 / width) >= _UNLIKELY:
                continue
            found = f"the oracle is document {place + 1} of {width} in {times} of {rows} sets of documents"
            if times == rows:
                report.add("error", file, 0, f"{found}: a model would learn the place")
            else:
                report.add("warning", file, 0, f"{found}, where chance gives about {rows / width:.0f}")


def validate_oracle_share(rows: Counter[bool], share: float, report: Report) -> None:
    """Vet that as many rows hold their oracle as the p they were drawn with makes plausible."""
    total = rows[True] + rows[False]
    if total and binomial_tail(rows[True], total, share) < _UNLIKELY:
        found = rows[True] / total
        report.add(
            "warning", "dataset", 0, f"{found:.1%} of {total} rows hold their oracle, while p is {share:g}"
        )


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Compute how probable a count at least this far out is, 0 to 1.

    Twice the smaller tail of the binomial distribution, at most 1.
    """
    if not 0 < probability < 1:
        return float(successes == round(trials * probability))
    log_p, log_q = math.log(probability), math.log1p(-probability)

    def mass(k: int) -> float:
        ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        return math.exp(ways + k * log_p + (trials - k) * log_q)

    upper = successes > trials * probability
    tail = math.fsum(map(mass, range(successes, trials + 1) if upper else range(successes + 1)))
    return min(1.0, 2 * tail)
