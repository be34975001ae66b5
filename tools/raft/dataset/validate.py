"""Validate the files of a dataset before training on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..choices import Order
from ..files import BOM
from ..models.pricing import context_of, load_prices
from ..raft_format import parse_answer
from ..records import DRILLS, SPLITS, content_id
from .count_tokens import PER_MESSAGE, count_by_document, load_counter
from .validate_chats import row_sequences, validate_chat, validate_pair, validate_preference
from .validate_records import (
    Report,
    Row,
    Sample,
    Severity,
    validate_oracle_share,
    validate_positions,
    validate_record,
)

FEWEST_ROWS = 10  # the minimum that OpenAI and Azure OpenAI accept for training
_NEAR = 0.9  # share of the context from which an estimated length gets a warning


@dataclass(frozen=True)
class Finding:
    """A problem with a file, or something worth knowing about it."""

    severity: Severity
    file: str
    line: int  # 1-based; 0 for the file as a whole
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.severity}: {self.message}"


def validate_files(
    folder: Path,
    *,
    model: str = "",
    context: int | None = None,
    count_tokens: Callable[[str], int] | None = None,
    share: float | None = None,
    order: Order | None = None,
    hosted: bool = False,
) -> list[Finding]:
    """Validate the files in a folder: {train,valid,test,drills}.jsonl, .chat, .completion, .dsf, .dpo.jsonl.

    An error means that a file must not be used for training or evaluation, a warning is for a person
    to judge, and a note states the lengths. `context` is the length in tokens of the longest row that
    the model accepts; by default it is looked up by `model`, the model to be tuned. `count_tokens`
    counts with that model's tokenizer; by default the embedded tokenizer gives an estimate. `share` is
    the p that the rows were drawn with, `order` that of their documents, if known. `hosted` is for files
    for OpenAI or Azure OpenAI: too few training rows are an error, since these two refuse such a file, and
    their own keys in chats are accepted.
    """
    report = Report()
    if context is None and model:
        context = context_of(model, load_prices())
        if context is None:
            report.add(
                "warning", folder.name, 0, f"the context of {model} is unknown, so lengths are not checked"
            )
    lengths = _LengthChecker(count_tokens, context, report)
    rows: dict[str, int] = {}
    expected: dict[str, int] = {}
    oracles: Counter[bool] = Counter()
    for part in (*SPLITS, DRILLS):
        split = "train" if part == DRILLS else part
        path = folder / f"{part}.jsonl"
        if path.exists():
            sample = Sample()
            for line, row in _read(path, report, rows):
                if validate_record(row, split, path.name, line, report):
                    sample.add(row)
            validate_positions(sample, path.name, report, order)
            if part != DRILLS:  # drills contain their oracle, whatever p is
                oracles += sample.rows
            expected |= {
                f"{part}.chat.jsonl": rows[path.name],
                f"{part}.completion.jsonl": rows[path.name],
                f"{part}.dsf.jsonl": len(sample.questions),
            }
        for form, validate_row in (
            ("chat", validate_chat),
            ("completion", validate_pair),
            ("dsf", validate_chat),
            ("dpo", validate_preference),
        ):
            path = folder / f"{part}.{form}.jsonl"
            if path.exists():
                for line, row in _read(path, report, rows):
                    texts = validate_row(row, path.name, line, report, hosted=hosted)
                    if texts:
                        _validate_answer(texts, form, split, path.name, line, report)
                        longest = max(row_sequences(row), key=lambda texts: sum(map(len, texts)))
                        lengths.check(longest, path.name, line)
                lengths.summarise(path.name)
    _validate_counts(rows, expected, hosted, folder, report)
    if share is not None:
        validate_oracle_share(oracles, share, report)
    return [Finding(*finding) for finding in report.close()]


def _read(path: Path, report: Report, rows: dict[str, int]) -> Iterator[tuple[int, Row]]:
    """Yield and count the objects of a JSONL file; other lines are reported and skipped."""
    rows[path.name] = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                report.add("error", path.name, number, "empty line")
                continue
            try:
                row = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except UnicodeDecodeError:
                report.add("error", path.name, number, "not UTF-8: save the file as UTF-8")
                continue
            except ValueError:
                start = raw[:40].decode("utf-8", "replace").strip()
                report.add("error", path.name, number, "not JSON", start.replace(BOM, "(byte order mark)"))
                continue
            if isinstance(row, dict):
                rows[path.name] += 1
                yield number, row
            else:
                report.add("error", path.name, number, f"expected a JSON object, not a {type(row).__name__}")


def _validate_answer(texts: list[str], form: str, split: str, file: str, line: int, report: Report) -> None:
    """Validate what a model would learn from a row: an answer in RAFT format, to a prompt that is new."""
    answer = parse_answer(texts[-1])
    if isinstance(answer, str):
        report.add("error", file, line, f"answer: {answer}")
    if earlier := report.claim(f"{form} {content_id(*texts[:-1])}", split, file, line):
        report.add("error", file, line, "the same prompt again", f"as in {earlier[1]}")


def _validate_counts(
    rows: dict[str, int], expected: dict[str, int], hosted: bool, folder: Path, report: Report
) -> None:
    """Validate that there are rows to train on, and that every format has as many rows as it should."""
    training = {name: count for name, count in rows.items() if name.startswith("train.")}
    if not training:
        report.add(
            "error", folder.name, 0, "no train file; a dataset folder needs train.jsonl or train.chat.jsonl"
        )
    for name, count in training.items():
        if name == "train.dpo.jsonl" and count < FEWEST_ROWS:
            # Whoever trains on the answers alone does not need them; a training on pairs counts them itself.
            message = f"{count or 'no'} pairs; OpenAI and Azure OpenAI take {FEWEST_ROWS} or more"
            report.add("warning", name, 0, message)
        elif not count:
            report.add("error", name, 0, "no rows to train on")
        elif count < FEWEST_ROWS:
            message = f"{count} rows; OpenAI and Azure OpenAI take {FEWEST_ROWS} or more"
            report.add("error" if hosted else "warning", name, 0, message)
    for name, count in rows.items():
        if count != expected.get(name, count):
            report.add(
                "error", name, 0, f"{count} rows for {expected[name]} records; write the formats again"
            )


class _LengthChecker:
    """Measures rows in tokens, and compares them with the context of the model if that is known."""

    def __init__(self, count: Callable[[str], int] | None, context: int | None, report: Report) -> None:
        self._exact, self._count = count is not None, count_by_document(count or load_counter())
        self._context, self._report = context, report
        self._rows, self._total, self._longest = 0, 0, (0, 0)  # tokens and line of the longest row

    def check(self, texts: list[str], file: str, line: int) -> None:
        """Measure a row, and report it if it does not fit the context."""
        tokens = sum(self._count(text) + PER_MESSAGE for text in texts)
        self._rows, self._total = self._rows + 1, self._total + tokens
        self._longest = max(self._longest, (tokens, line))
        if self._context and tokens > self._context:
            kind = "longer than the model's context"
            self._report.add("error", file, line, kind, f"{tokens:,} of {self._context:,} tokens")
        elif self._context and not self._exact and tokens > _NEAR * self._context:
            kind = "close to the model's context by an estimate"
            self._report.add("warning", file, line, kind, f"about {tokens:,} of {self._context:,} tokens")

    def summarise(self, file: str) -> None:
        """Add a note on the lengths in a file, and reset for the next file."""
        if self._rows:
            about, limit = "" if self._exact else "about ", f" of {self._context:,}" if self._context else ""
            total = f"{self._rows:,} rows, {about}{self._total:,} tokens"
            tokens, line = self._longest
            self._report.add("note", file, 0, f"{total}, the longest row {tokens:,}{limit} (line {line})")
        self._rows, self._total, self._longest = 0, 0, (0, 0)
