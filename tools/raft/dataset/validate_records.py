"""Validate RAFT records: each alone, against the earlier ones, and all of them as a sample."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..choices import Order
from ..on_disk import DiskMap
from ..raft_format import parse_answer, parse_documents
from ..records import ORACLE_GAP, content_id, fields_of, oracle_ids, question_id
from ..text.excerpts import is_excerpt
from ..text.normalise import fold, normalise

Severity = Literal["error", "warning", "note"]

_NEVER_EMPTY = ("question", "oracle_context", "cot_answer", "instruction", "final_answer", "chunk_id")
_SHOWN = 10  # findings of one kind in one file; further ones are only counted
_UNLIKELY = 1e-6  # a count less probable than this under its binomial is not due to chance

Row = Mapping[str, Any]


class Report:
    """The findings so far; beyond the first few of a kind in a file, they are only counted."""

    def __init__(self) -> None:
        self._findings: list[tuple[Severity, str, int, str]] = []
        self._times: Counter[tuple[Severity, str, str]] = Counter()
        self._owners = DiskMap()  # of items: split file:line
        self._texts = DiskMap()  # the ids of folded texts, by text

    def add(self, severity: Severity, file: str, line: int, kind: str, detail: str = "") -> None:
        """Add a finding; line 0 means the file as a whole."""
        self._times[severity, file, kind] += 1
        if self._times[severity, file, kind] <= _SHOWN:
            self._findings.append((severity, file, line, kind + (f": {detail}" if detail else "")))

    def claim(self, item: str, split: str, file: str, line: int) -> tuple[str, str] | None:
        """Record that a row contains an item; return (split, file:line) of an earlier row that claimed it."""
        own = f"{split} {file}:{line}"
        first = self._owners.setdefault(item, own)
        if first == own:
            return None
        owner, _, place = first.partition(" ")
        return owner, place

    def text_id(self, text: str) -> str:
        """Return an id that is the same for texts that fold to the same text; each text is folded once."""
        return str(self._texts.compute(text, lambda text: content_id(fold(text))))

    def close(self) -> list[tuple[Severity, str, int, str]]:
        """Return the findings in the order of their addition, then the counts of those left out."""
        more = [
            (severity, file, 0, f"{kind}: {times - _SHOWN} more such lines")
            for (severity, file, kind), times in self._times.items()
            if times > _SHOWN
        ]
        return self._findings + more


class Sample:
    """Counts of the records of a file, their questions, and the positions of the oracles."""

    def __init__(self) -> None:
        self.rows: Counter[bool] = Counter()  # by has_oracle
        self.positions: Counter[tuple[int, int]] = Counter()  # (documents in the row, index of the oracle)
        self.questions = DiskMap()  # ids, one for all rounds of a question
        self.longest = {False: 0, True: 0}  # documents of a record, by whether it has several oracles
        self._seen = DiskMap()

    def add(self, row: Row) -> None:
        """Count a record; the position of the oracle counts once for rows with the same documents."""
        self.rows[row["has_oracle"]] += 1
        self.questions.add(question_id(row["chunk_id"], row["question"]))
        several = "oracle_ids" in row
        self.longest[several] = max(self.longest[several], len(documents_of(row)))
        chunk_ids = " ".join((*oracle_ids(row), *sorted(row["distractor_ids"])))
        if row["has_oracle"] and self._seen.add(chunk_ids):
            self.positions[len(documents_of(row)), row["oracle_index"]] += 1


def documents_of(row: Row) -> list[str]:
    """Return the documents of a record in their order."""
    return [document for documents in row["context"]["sentences"] for document in documents]


def validate_record(row: Row, split: str, file: str, line: int, report: Report) -> bool:
    """Validate a record alone and against the earlier ones; return whether its fields are valid."""

    def error(kind: str, detail: str = "") -> None:
        report.add("error", file, line, kind, f"{detail} (row {row.get('id', '?')})".lstrip())

    if problem := _field_problem(row):
        error(problem)
        return False
    documents, index = documents_of(row), row["oracle_index"]
    if row["split"] != split:
        error("the row belongs to another split", row["split"])
    if len({report.text_id(document) for document in documents}) < len(documents):
        error("the same document twice in one row")
    own = oracle_ids(row)
    if "oracle_ids" in row:
        _validate_oracles(row, documents, error)
    elif row["has_oracle"]:
        if index is None or not 0 <= index < len(documents) or documents[index] != row["oracle_context"]:
            error("the oracle is not where oracle_index says", str(index))
    elif index is not None or row["oracle_context"] in documents:
        error("the oracle is among the documents though has_oracle is false")
    if among := sorted(set(own).intersection(row["distractor_ids"])):
        error("the oracle is among its own distractors", " ".join(among))
    if len(set(row["distractor_ids"])) + len(own) * row["has_oracle"] != len(documents):
        error(
            "documents and distractor_ids do not match", f"{len(documents)} and {len(row['distractor_ids'])}"
        )
    if not _instruction_fits(row["instruction"], documents, row["question"]):
        error("the instruction lacks a document or does not end with the question")
    answer = parse_answer(row["cot_answer"])
    if isinstance(answer, str):
        error(f"answer: {answer}")
    _validate_leaks(row, documents, split, file, line, report)
    return True


def _validate_oracles(row: Row, documents: list[str], error: Callable[[str, str], None]) -> None:
    """Validate the several oracles of a record: all of them are where it says, or none is there."""
    ids, indices = row["oracle_ids"], row["oracle_indices"]
    if len(set(ids)) != len(ids) or len(ids) < 2 or ids[0] != row["chunk_id"]:
        error("oracle_ids are not several ids, that of chunk_id first", " ".join(ids))
    if row["has_oracle"]:
        fit = indices is not None and len(set(indices)) == len(indices) == len(ids)
        fit = fit and all(0 <= i < len(documents) for i in indices)
        if not fit or ORACLE_GAP.join(documents[i] for i in indices) != row["oracle_context"]:
            error("the oracles are not where oracle_indices say", str(indices))
        elif row["oracle_index"] != indices[0]:
            error("oracle_index is not the first of oracle_indices", str(row["oracle_index"]))
    elif indices is not None or row["oracle_index"] is not None or _holds_any(row, documents):
        error("an oracle is among the documents though has_oracle is false", "")


def _holds_any(row: Row, documents: list[str]) -> bool:
    """Return whether one of the documents is one of the oracles, whose texts are joined in oracle_context."""
    context = f"{ORACLE_GAP}{row['oracle_context']}{ORACLE_GAP}"
    return any(f"{ORACLE_GAP}{document}{ORACLE_GAP}" in context for document in documents)


def _instruction_fits(instruction: str, documents: list[str], question: str) -> bool:
    """Return whether an instruction has the documents, whole or cut to sentences, and the question."""
    if not instruction.rstrip().endswith(question.strip()):
        return False
    if all(document in instruction for document in documents):
        return True
    shown = parse_documents(instruction)
    return len(shown) == len(documents) and all(map(is_excerpt, shown, documents))


def _validate_leaks(row: Row, documents: list[str], split: str, file: str, line: int, report: Report) -> None:
    """Validate that no chunk or document of a record is in another split, and that its question is new."""
    items = [("chunk", chunk_id) for chunk_id in (*oracle_ids(row), *row["distractor_ids"])]
    items += [("document", report.text_id(document)) for document in (row["oracle_context"], *documents)]
    for kind, value in items:
        earlier = report.claim(f"{kind} {value}", split, file, line)
        if earlier and earlier[0] != split:
            detail = f"{value} is also in {earlier[1]} (row {row['id']})"
            report.add("error", file, line, f"{kind} of two splits", detail)
    question = f"question {content_id(normalise(row['question']))}"
    earlier = report.claim(question, split, file, line)
    # The same question about the same chunk with other documents is another round; otherwise it is repeated.
    same_chunk = report.claim(f"{question} of {row['chunk_id']}", split, file, line)
    same_documents = report.claim(f"{question} of {row['chunk_id']} in {documents}", split, file, line)
    if earlier and earlier[0] != split:
        report.add("error", file, line, "question of two splits", f"also in {earlier[1]} (row {row['id']})")
    elif earlier and (same_documents or not same_chunk):
        report.add("warning", file, line, "the same question again", f"as in {earlier[1]} (row {row['id']})")
    if earlier := report.claim(f"id {row['id']}", split, file, line):
        report.add("error", file, line, "the same id again", f"{row['id']} as in {earlier[1]}")


def _field_problem(row: Row) -> str:
    """Return which field is missing, unknown, empty or of the wrong type, or an empty string if none is."""
    fields = fields_of(several="oracle_ids" in row or "oracle_indices" in row)
    if missing := fields.keys() - row.keys():
        return f"field {sorted(missing)[0]} is missing"
    if unknown := row.keys() - fields.keys():
        return f"field {sorted(unknown)[0]} is unknown"
    for name, field in fields.items():
        type_, items = field.type, field.items
        value: Any = row[name]
        if value is None and field.nullable:
            continue
        if not isinstance(value, type_) or (type_ is int and isinstance(value, bool)):
            return f"field {name} is not of type {type_.__name__}"
        if isinstance(value, list) and any(type(item) is not items for item in value):
            return f"field {name} does not hold items of type {items.__name__}"
        if name in _NEVER_EMPTY and not row[name].strip():
            return f"field {name} is empty"
    sentences = row["context"].get("sentences")
    if not isinstance(sentences, list) or not all(
        isinstance(inner, list) and all(isinstance(document, str) for document in inner)
        for inner in sentences
    ):
        return "field context does not hold a list of lists of documents"
    return ""


def validate_positions(sample: Sample, file: str, report: Report, order: Order | None) -> None:
    """Validate that the position of the oracle among the documents is uniformly random.

    If the order is unknown, it may be that of a retriever, which finds the oracle first. Also validate that
    rows with several oracles do not have more documents than the others.
    """
    one, several = sample.longest[False], sample.longest[True]
    if one and several > one:
        message = f"rows with several oracles have up to {several} documents, those with one up to {one}"
        report.add("error", file, 0, message)
    if order == "ranked":
        return
    for width in sorted({width for width, _ in sample.positions if width > 1}):
        total = sum(count for (documents, _), count in sample.positions.items() if documents == width)
        for index in range(width):
            count = sample.positions[width, index]
            if binomial_tail(count, total, 1 / width) >= _UNLIKELY:
                continue
            message = f"the oracle is document {index + 1} of {width} in {count} of {total} sets of documents"
            if count == total:
                report.add(
                    "error" if order else "warning", file, 0, f"{message}: a model would learn the position"
                )
            else:
                report.add("warning", file, 0, f"{message}, where chance gives about {total / width:.0f}")


def validate_oracle_share(rows: Counter[bool], share: float, report: Report) -> None:
    """Validate that the share of rows with their oracle is plausible for the p they were drawn with."""
    total = rows[True] + rows[False]
    if total and binomial_tail(rows[True], total, share) < _UNLIKELY:
        actual = rows[True] / total
        report.add(
            "warning", "dataset", 0, f"{actual:.1%} of {total} rows hold their oracle, while p is {share:g}"
        )


def binomial_tail(successes: int, trials: int, probability: float) -> float:
    """Compute the two-sided probability, 0 to 1, of a count at least this extreme.

    Twice the smaller tail of the binomial distribution, at most 1.
    """
    if not 0 < probability < 1:
        return float(successes == round(trials * probability))
    log_p, log_q = math.log(probability), math.log1p(-probability)

    def mass(k: int) -> float:
        log_ways = math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
        return math.exp(log_ways + k * log_p + (trials - k) * log_q)

    upper = successes > trials * probability
    tail = math.fsum(map(mass, range(successes, trials + 1) if upper else range(successes + 1)))
    return min(1.0, 2 * tail)
