"""Vet the files of a dataset before anyone trains on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..models.pricing import context_of, load_prices
from ..raft_format import parse_answer
from ..records import DRILLS, SPLITS, content_id
from .count_tokens import count_by_document, load_counter
from .validate_records import (
    Report,
    Row,
    Sample,
    Severity,
    validate_oracle_share,
    validate_positions,
    validate_record,
)

FEWEST_ROWS = 10  # what OpenAI and Azure OpenAI take for training at least
_NEAR = 0.9  # of the context, where the tokens are an estimate
_PER_MESSAGE = 4  # tokens a chat template adds to a message, about


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a file, or worth knowing."""

    severity: Severity
    file: str
    line: int  # 1-based; 0 where the file as a whole is meant
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
    hosted: bool = False,
) -> list[Finding]:
    """Vet the files in a folder: {train,valid,test,drills}.jsonl, .chat, .completion and .dsf.jsonl.

    An error is a file that must not be trained on or measured with, a warning is for a person to
    judge, a note tells the lengths. `context` is the longest row in tokens the model takes; without
    it, it is looked up by `model`, the model to be tuned. `count_tokens` is that model's tokenizer;
    without it, the one of the embedded embedding model serves as an estimate. `share` is the p the
    rows were drawn with. `hosted` makes too few training rows an error: OpenAI and Azure OpenAI
    refuse such a file.
    """
    report = Report()
    if context is None and model:
        context = context_of(model, load_prices())
        if context is None:
            report.add(
                "warning", folder.name, 0, f"the context of {model} is unknown, so lengths are not checked"
            )
    ruler = _Ruler(count_tokens, context, report)
    rows: dict[str, int] = {}
    wanted: dict[str, int] = {}
    oracles: Counter[bool] = Counter()
    for part in (*SPLITS, DRILLS):
        split = "train" if part == DRILLS else part
        path = folder / f"{part}.jsonl"
        if path.exists():
            sample = Sample()
            for line, row in _read(path, report, rows):
                if validate_record(row, split, path.name, line, report):
                    sample.add(row)
            validate_positions(sample, path.name, report)
            if part != DRILLS:  # a drill holds its oracle whatever p is
                oracles += sample.rows
            wanted |= {
                f"{part}.chat.jsonl": rows[path.name],
                f"{part}.completion.jsonl": rows[path.name],
                f"{part}.dsf.jsonl": len(sample.questions),
            }
        for form, texts_of in (
            ("chat", _validate_chat),
            ("completion", _validate_pair),
            ("dsf", _validate_chat),
        ):
            path = folder / f"{part}.{form}.jsonl"
            if path.exists():
                for line, row in _read(path, report, rows):
                    texts = texts_of(row, path.name, line, report)
                    if texts:
                        _validate_answer(texts, form, split, path.name, line, report)
                        ruler.measure(texts, path.name, line)
                ruler.tell(path.name)
    _validate_counts(rows, wanted, hosted, folder, report)
    if share is not None:
        validate_oracle_share(oracles, share, report)
    return [Finding(*finding) for finding in report.close()]


def _read(path: Path, report: Report, rows: dict[str, int]) -> Iterator[tuple[int, Row]]:
    """Read and count the objects of a JSONL file; what is none is reported and left out."""
    rows[path.name] = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                report.add("error", path.name, number, "empty line")
                continue
            try:
                row = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except ValueError as error:
                report.add("error", path.name, number, "no JSON", str(error))
                continue
            if isinstance(row, dict):
                rows[path.name] += 1
                yield number, row
            else:
                report.add("error", path.name, number, f"a JSON object is wanted, not a {type(row).__name__}")


def _validate_chat(row: Row, file: str, line: int, report: Report) -> list[str]:
    """Vet the shape of a chat row as OpenAI and Azure take it; give its texts, or nothing."""

    def error(kind: str, detail: str = "") -> list[str]:
        report.add("error", file, line, kind, detail)
        return []

    messages = row.get("messages")
    if row.keys() != {"messages"} or not isinstance(messages, list):
        return error('a chat row has the one key "messages", a list', f"keys {', '.join(row) or 'none'}")
    for message in messages:
        if not isinstance(message, dict) or message.keys() != {"role", "content"}:
            return error('a message has the keys "role" and "content" alone')
        if not isinstance(message["content"], str) or not message["content"].strip():
            return error("a message is empty", str(message["role"]))
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2):
        wanted = "roles must be system (or none), then user and assistant in turn, the last assistant"
        return error(wanted, ", ".join(map(str, roles)))
    return [message["content"] for message in messages]


def _validate_pair(row: Row, file: str, line: int, report: Report) -> list[str]:
    """Vet the shape of a prompt with its completion; give both texts, or nothing."""
    if row.keys() != {"prompt", "completion"}:
        report.add(
            "error",
            file,
            line,
            'a row has the keys "prompt" and "completion" alone',
            ", ".join(row) or "none",
        )
        return []
    texts = [row["prompt"], row["completion"]]
    if not all(isinstance(text, str) and text.strip() for text in texts):
        report.add("error", file, line, "prompt or completion is empty")
        return []
    return texts


def _validate_answer(texts: list[str], form: str, split: str, file: str, line: int, report: Report) -> None:
    """Vet what a model would learn from one row: an answer in the RAFT form, asked for once."""
    answer = parse_answer(texts[-1])
    if isinstance(answer, str):
        report.add("error", file, line, f"answer: {answer}")
    if before := report.claim(f"{form} {content_id(*texts[:-1])}", split, file, line):
        report.add("error", file, line, "the same prompt again", f"as in {before[1]}")


def _validate_counts(
    rows: dict[str, int], wanted: dict[str, int], hosted: bool, folder: Path, report: Report
) -> None:
    """Vet that there is something to train on, and that all formats have the rows they should."""
    training = {name: count for name, count in rows.items() if name.startswith("train.")}
    if not training:
        report.add(
            "error", folder.name, 0, "no train file; a dataset folder has train.jsonl or train.chat.jsonl"
        )
    for name, count in training.items():
        if not count:
            report.add("error", name, 0, "no rows to train on")
        elif count < FEWEST_ROWS:
            few = f"{count} rows; OpenAI and Azure OpenAI take {FEWEST_ROWS} or more"
            report.add("error" if hosted else "warning", name, 0, few)
    for name, count in rows.items():
        if count != wanted.get(name, count):
            report.add("error", name, 0, f"{count} rows for {wanted[name]} records; write the formats again")


class _Ruler:
    """Measure rows in tokens, against the context of a model where it is known."""

    def __init__(self, count: Callable[[str], int] | None, context: int | None, report: Report) -> None:
        self._exact, self._count = count is not None, count_by_document(count or load_counter())
        self._context, self._report = context, report
        self._rows, self._total, self._longest = 0, 0, (0, 0)  # the longest: its tokens and line

    def measure(self, texts: list[str], file: str, line: int) -> None:
        """Measure one row, and report it where it does not fit."""
        tokens = sum(self._count(text) + _PER_MESSAGE for text in texts)
        self._rows, self._total = self._rows + 1, self._total + tokens
        self._longest = max(self._longest, (tokens, line))
        if self._context and tokens > self._context:
            kind = "longer than the model's context"
            self._report.add("error", file, line, kind, f"{tokens:,} of {self._context:,} tokens")
        elif self._context and not self._exact and tokens > _NEAR * self._context:
            kind = "close to the model's context by an estimate"
            self._report.add("warning", file, line, kind, f"about {tokens:,} of {self._context:,} tokens")

    def tell(self, file: str) -> None:
        """Note the lengths of a file, and begin another."""
        if self._rows:
            about, limit = "" if self._exact else "about ", f" of {self._context:,}" if self._context else ""
            total = f"{self._rows:,} rows, {about}{self._total:,} tokens"
            tokens, line = self._longest
            self._report.add("note", file, 0, f"{total}, the longest row {tokens:,}{limit} (line {line})")
        self._rows, self._total, self._longest = 0, 0, (0, 0)
