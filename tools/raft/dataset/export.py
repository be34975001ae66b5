"""Write the split files of a dataset, in the formats that fine-tuning and evaluation take."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from ..errors import UserError
from ..files import describe_file, json_line, replacing
from ..models.openai_sdk import format_completion_prompt
from ..prompts import Message, render
from ..raft_format import ANSWER_TAG, format_documents
from ..records import DRILLS, FIELDS, SPLITS, part_of, question_id
from .validate import Finding, validate_files

FORMATS = ("hf", "chat", "completion", "dsf", "eval", "parquet")
PROMPT = "raft_answer.jinja2"  # what the RAFT chat flow sends, so what the model is trained on
DSF_PROMPT = "closed_book_answer.jinja2"  # what a model tuned without documents is asked with
STAGING = ".staging"

_SUFFIXES = {
    "hf": ".jsonl",
    "chat": ".chat.jsonl",
    "completion": ".completion.jsonl",
    "dsf": ".dsf.jsonl",
    "eval": ".eval.jsonl",
    "parquet": ".parquet",
}
_ROW_GROUP = 512  # rows held in memory for a Parquet file

Row = dict[str, Any]


def check_formats(formats: Sequence[str]) -> list[str]:
    """Give the formats without repeats. Raises UserError for an unknown one, or none."""
    if not formats:
        raise UserError(f"no format given; choose from {', '.join(FORMATS)}")
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    return list(dict.fromkeys(formats))


def make_datasets(
    raft_jsonl: Path, out: Path, *, formats: Sequence[str] = ("hf",), prompt: str = PROMPT, **checks: Any
) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Write the split files, vet them, and only then put them in their place in `out`.

    `checks` goes to `validate_files`. Gives {file name: {rows, bytes, sha256}} and the findings, none of
    them an error. Raises UserError where there is one: raft.jsonl is untouched, what stood in `out`
    before still does, and the refused files stay in `out`/.staging with findings.txt, all that is wrong.
    """
    staging = out / STAGING
    for left_over in staging.glob("*"):
        left_over.unlink()
    files = write_datasets(raft_jsonl, staging, formats=formats, prompt=prompt)
    findings = validate_files(staging, **checks)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        listing = staging / "findings.txt"
        listing.write_text("".join(f"{finding}\n" for finding in findings), encoding="utf-8")
        more = f" and {len(errors) - 1} more errors" if len(errors) > 1 else ""
        raise UserError(f"the dataset does not pass its checks: {errors[0]}{more}, see {listing}")
    publish(staging, out)
    return files, findings


def write_datasets(
    raft_jsonl: Path, out: Path, *, formats: Sequence[str] = ("hf",), prompt: str = PROMPT
) -> dict[str, dict[str, Any]]:
    """Write train, valid and test files out of raft.jsonl, one row at a time.

    The records themselves (format "hf", always written) are copied byte for byte into
    train.jsonl, valid.jsonl and test.jsonl, drills into files of their own, drills.jsonl and so on: a
    large model needs no practice, so they must not be paid for with it. Beside them stand

    - chat: {"messages": [...]} as OpenAI and Azure fine-tuning take it: `prompt` rendered with the
      row's instruction, then the answer of the assistant;
    - completion: {"prompt", "completion"}, the same as one text;
    - dsf: a chat of the question alone and its final answer, for the paper's other baseline, domain
      specific fine-tuning; each question of a chunk once, whatever the rounds, and no drills, which are
      nothing without their documents;
    - eval: test.eval.jsonl alone, the question with its gold answer and its documents;
    - parquet: the records with a fixed schema.

    An empty split gives empty files, no drills give none. Every file appears whole or not at all, and the
    same rows give the same bytes. Gives {file name: {rows, bytes, sha256}}. Raises UserError for an
    unknown format or a row that is no RAFT record.
    """
    wanted = check_formats(formats)
    shapes: dict[str, Callable[[Row], Row]] = {
        "chat": lambda row: to_chat(row, prompt),
        "completion": lambda row: to_completion(row, prompt),
        "dsf": to_dsf,
        "eval": to_eval,
    }
    out.mkdir(parents=True, exist_ok=True)
    files: dict[str, _Writer] = {}
    asked: set[str] = set()
    with ExitStack() as stack:

        def begin(names: Sequence[str]) -> None:
            for name in names:
                files[name] = stack.enter_context(_open_writer(out / name))

        begin(_file_names(wanted))
        for line, row in _read_rows(raft_jsonl):
            part = part_of(row)
            if part == DRILLS and f"{DRILLS}.jsonl" not in files:
                begin(_drill_names(wanted))
            files[f"{part}.jsonl"].add(line)
            question = question_id(row["chunk_id"], row["question"])
            for name in wanted:
                file = files.get(part + _SUFFIXES[name])  # eval is of the test split alone, dsf has no drills
                if file and name == "parquet":
                    file.add(row)
                elif file and name in shapes and not (name == "dsf" and question in asked):
                    file.add(json_line(shapes[name](row)).encode("utf-8"))
            asked.add(question)
    return {name: {"rows": file.rows, **describe_file(out / name)} for name, file in files.items()}


def publish(staging: Path, out: Path) -> list[str]:
    """Move the files of `staging` into `out`; give the names of older dataset files removed there.

    A file of a format that was not asked for this time holds rows of another run: leaving it
    beside the new ones would mix two datasets.
    """
    fresh = sorted(path.name for path in staging.iterdir())
    for name in fresh:
        os.replace(staging / name, out / name)
    staging.rmdir()
    known = _file_names(FORMATS) + _drill_names(FORMATS)
    stale = [name for name in known if name not in fresh and (out / name).exists()]
    for name in stale:
        (out / name).unlink()
    return stale


def to_chat(row: Mapping[str, Any], prompt: str = PROMPT) -> Row:
    """Shape a record into a chat for fine-tuning: what the model will be sent, then its answer."""
    return {"messages": [*render(prompt, instruction=row["instruction"]), _assistant(row)]}


def to_completion(row: Mapping[str, Any], prompt: str = PROMPT) -> Row:
    """Shape a record into a completion and the prompt that a completion endpoint would be sent."""
    messages: list[Any] = [*render(prompt, instruction=row["instruction"])]
    return {"prompt": format_completion_prompt(messages), "completion": row["cot_answer"]}


def to_dsf(row: Mapping[str, Any]) -> Row:
    """Shape a record into a chat without documents: the question, and its final answer alone."""
    answer = {"role": "assistant", "content": f"{ANSWER_TAG} {row['final_answer']}"}
    return {"messages": [*render(DSF_PROMPT, question=row["question"]), answer]}


def to_eval(row: Mapping[str, Any]) -> Row:
    """Shape a record into a test question: gold answer, documents, and where they come from."""
    return {
        "id": row["id"],
        "question": row["question"],
        "gold_final_answer": row["final_answer"],
        "gold_cot_answer": row["cot_answer"],
        "context": format_documents(chain.from_iterable(row["context"]["sentences"])),
        **{
            key: row[key]
            for key in ("oracle_context", "has_oracle", "chunk_id", "source", "page", "type", "origin")
        },
    }


def _assistant(row: Mapping[str, Any]) -> Message:
    return {"role": "assistant", "content": row["cot_answer"]}


def _file_names(formats: Sequence[str]) -> list[str]:
    names = [f"{split}.jsonl" for split in SPLITS]
    for name in formats:
        if name != "hf":
            names += [split + _SUFFIXES[name] for split in (("test",) if name == "eval" else SPLITS)]
    return names


def _drill_names(formats: Sequence[str]) -> list[str]:
    return [
        DRILLS + suffix for name, suffix in _SUFFIXES.items() if name in {"hf", *formats} - {"dsf", "eval"}
    ]


def _read_rows(path: Path) -> Iterator[tuple[bytes, Row]]:
    """Read records with the bytes they stand in. Raises UserError that names the line."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; run generate first") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError:
                raise UserError(
                    f"{path}, line {number} is not JSON; run generate again to rebuild it"
                ) from None
            if not isinstance(row, dict) or row.keys() != FIELDS.keys() or row["split"] not in SPLITS:
                keys = ", ".join(sorted(FIELDS.keys() ^ row.keys())) if isinstance(row, dict) else ""
                raise UserError(
                    f"{path}, line {number} is not a RAFT record ({keys or 'bad split'}); run generate again"
                )
            yield line if line.endswith(b"\n") else line + b"\n", row


class _Writer(Protocol):
    """A file being written; `add` takes the bytes of a line, or a record for a table."""

    rows: int

    def add(self, row: Any) -> None: ...


@contextmanager
def _open_writer(path: Path) -> Iterator[_Writer]:
    """Open a dataset file to write; it takes its name when all went well, and is gone when not."""
    with replacing(path) as staging:
        writer = _Parquet(staging) if path.suffix == ".parquet" else _Jsonl(staging)
        try:
            yield writer
            writer.flush()
        finally:
            writer.close()


class _Jsonl:
    def __init__(self, path: Path) -> None:
        self.rows, self._file = 0, path.open("wb")
        self.flush, self.close = self._file.flush, self._file.close

    def add(self, row: bytes) -> None:
        self._file.write(row)
        self.rows += 1


class _Parquet:
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        self.rows, self._waiting = 0, []  # type: tuple[int, list[Row]]
        self._schema = parquet_schema()
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self.close = self._writer.close

    def add(self, row: Row) -> None:
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        import pyarrow

        if not self._waiting:
            return
        try:
            self._writer.write_table(pyarrow.Table.from_pylist(self._waiting, schema=self._schema))
        except (pyarrow.ArrowException, TypeError) as error:
            raise UserError(f"Parquet: a row does not fit the schema: {error}") from None
        self._waiting = []


def parquet_schema() -> Any:
    """Return the Arrow schema of the records; it does not depend on the rows."""
    import pyarrow

    kinds = {
        str: pyarrow.string(),
        bool: pyarrow.bool_(),
        int: pyarrow.int64(),
        list: pyarrow.list_(pyarrow.string()),
    }
    nested = pyarrow.list_(pyarrow.list_(pyarrow.string()))
    context = pyarrow.struct([("title", nested), ("sentences", nested)])
    return pyarrow.schema(
        [(name, context if field.type is dict else kinds[field.type]) for name, field in FIELDS.items()]
    )
