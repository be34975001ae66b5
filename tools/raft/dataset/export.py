"""Write the split files of a dataset in the formats for fine-tuning and evaluation."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..errors import UserError
from ..files import describe_file, json_line, replacing
from ..models.openai_sdk import format_completion_prompt
from ..on_disk import DiskMap
from ..prompts import assistant_message, render
from ..raft_format import ANSWER_TAG, format_documents, parse_documents, refusal
from ..records import DRILLS, SPLITS, fields_of, has_fields, oracle_ids, part_of, question_id
from .pairs import Pairs
from .validate import Finding, validate_files

FORMATS = ("hf", "chat", "completion", "dsf", "dpo", "eval", "parquet")
PROMPT = "raft_answer.jinja2"  # the model is trained on what the RAFT chat flow sends
DSF_PROMPT = "closed_book_answer.jinja2"  # for a model tuned without documents
STAGING = ".staging"

_SUFFIXES = {
    "hf": ".jsonl",
    "chat": ".chat.jsonl",
    "completion": ".completion.jsonl",
    "dsf": ".dsf.jsonl",
    "dpo": ".dpo.jsonl",
    "eval": ".eval.jsonl",
    "parquet": ".parquet",
}
_ROW_GROUP = 512  # rows held in memory for a Parquet file

Row = dict[str, Any]


def check_formats(formats: Sequence[str]) -> list[str]:
    """Return the formats without repeats.

    Raises UserError if one is unknown, if there are none, or if Parquet is asked for without its package.
    """
    if not formats:
        raise UserError(f"no format given; choose from {', '.join(FORMATS)}")
    for name in formats:
        if name not in FORMATS:
            raise UserError(f"unknown format {name!r}; choose from {', '.join(FORMATS)}")
    if "parquet" in formats and importlib.util.find_spec("pyarrow") is None:
        raise UserError("the format parquet needs pyarrow: pip install -r requirements.txt")
    return list(dict.fromkeys(formats))


def make_datasets(
    raft_jsonl: Path, out: Path, *, formats: Sequence[str] = ("hf",), prompt: str = PROMPT, **checks: Any
) -> tuple[dict[str, dict[str, Any]], list[Finding]]:
    """Write the split files, validate them, and only then move them to `out`.

    `checks` are passed to `validate_files`. Returns {file name: {rows, bytes, sha256}} and the findings,
    none of them an error. Raises UserError if there is an error: raft.jsonl and the previous files in
    `out` stay as they were, and the rejected files stay in `out`/.staging with findings.txt, which lists
    all findings.
    """
    staging = out / STAGING
    for leftover in staging.glob("*"):
        leftover.unlink()
    files = write_datasets(raft_jsonl, staging, formats=formats, prompt=prompt)
    findings = validate_files(staging, **checks)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        listing = staging / "findings.txt"
        listing.write_text("".join(f"{finding}\n" for finding in findings), encoding="utf-8")
        more = f" and {len(errors) - 1} more errors" if len(errors) > 1 else ""
        raise UserError(f"the dataset does not pass its checks: {errors[0]}{more}; see {listing}")
    publish(staging, out)
    return files, findings


def write_datasets(
    raft_jsonl: Path, out: Path, *, formats: Sequence[str] = ("hf",), prompt: str = PROMPT
) -> dict[str, dict[str, Any]]:
    """Write train, valid and test files from raft.jsonl, one row at a time.

    The records (format "hf", always written) are copied byte for byte into train.jsonl, valid.jsonl and
    test.jsonl. Drills go into separate files (drills.jsonl etc.): a large hosted model does not need
    them, so its training should not pay for them. The other formats are

    - chat: {"messages": [...]} as OpenAI and Azure fine-tuning expect it: `prompt` rendered with the
      row's instruction, then the assistant's answer;
    - completion: {"prompt", "completion"}, the same as plain text;
    - dsf: a chat of only the question and its final answer, for the paper's other baseline, domain
      specific fine-tuning; each question of a chunk once, whatever the number of rounds, and no drills,
      which make no sense without their documents;
    - dpo: pairs of an accepted and a rejected answer to the prompt of the chat, for preference tuning, of the
      rows that have one (see pairs.py), and no drills;
    - eval: only test.eval.jsonl, the question with its gold answer and its documents;
    - parquet: the records with a fixed schema.

    An empty split yields empty files; without drills, no drill files are written. Each file is written
    whole or not at all, and the same rows yield the same bytes. Returns {file name: {rows, bytes,
    sha256}}, for pairs also their counts by reason. Raises UserError for an unknown format or a row that is
    not a RAFT record.
    """
    formats = check_formats(formats)
    converters: dict[str, Callable[[Row], Row]] = {
        "chat": lambda row: to_chat(row, prompt),
        "completion": lambda row: to_completion(row, prompt),
        "dsf": to_dsf,
        "eval": lambda row: to_eval(row, several=several),
    }
    out.mkdir(parents=True, exist_ok=True)
    # All files of a dataset have the same columns, so that they can be loaded together.
    tabular = not {"parquet", "eval"}.isdisjoint(formats)
    several = tabular and any("oracle_ids" in row for _, row in _read_rows(raft_jsonl))
    pairs = Pairs(raft_jsonl, refusals=_has_refusals(raft_jsonl)) if "dpo" in formats else None
    files: dict[str, _Writer] = {}
    seen_questions = DiskMap()
    with ExitStack() as stack:

        def open_writers(names: Sequence[str]) -> None:
            for name in names:
                files[name] = stack.enter_context(_open_writer(out / name, several=several))

        open_writers(_file_names(formats))
        for line, row in _read_rows(raft_jsonl):
            part = part_of(row)
            if part == DRILLS and f"{DRILLS}.jsonl" not in files:
                open_writers(_drill_names(formats))
            files[f"{part}.jsonl"].add(line)
            for name in formats:
                file = files.get(part + _SUFFIXES[name])  # None: only test has eval, and drills have few
                if file is None or (name == "dsf" and not seen_questions.add(_question(row))):
                    continue
                if name == "parquet":
                    file.add(row)
                elif pairs and name == "dpo":
                    if pair := pairs.make(row, prompt):
                        file.add(json_line(pair).encode("utf-8"))
                elif name in converters:
                    file.add(json_line(converters[name](row)).encode("utf-8"))
    written = {name: {"rows": file.rows, **describe_file(out / name)} for name, file in files.items()}
    if pairs:
        for split in SPLITS:
            written[split + _SUFFIXES["dpo"]] |= pairs.counts(split)
    return written


def publish(staging: Path, out: Path) -> list[str]:
    """Move the files of `staging` to `out`; return the names of the older dataset files removed there.

    An older file in a format that was not written this time holds rows of another run: keeping it
    beside the new files would mix two datasets.
    """
    new_names = sorted(path.name for path in staging.iterdir())
    for name in new_names:
        os.replace(staging / name, out / name)
    staging.rmdir()
    all_names = _file_names(FORMATS) + _drill_names(FORMATS)
    stale = [name for name in all_names if name not in new_names and (out / name).exists()]
    for name in stale:
        (out / name).unlink()
    return stale


def to_chat(row: Mapping[str, Any], prompt: str = PROMPT) -> Row:
    """Convert a record to a chat for fine-tuning: the messages the model will be sent, then its answer."""
    answer = assistant_message(row["cot_answer"])
    return {"messages": [*render(prompt, instruction=row["instruction"]), answer]}


def to_completion(row: Mapping[str, Any], prompt: str = PROMPT) -> Row:
    """Convert a record to the prompt that a completion endpoint would be sent, and its completion."""
    messages: list[Any] = [*render(prompt, instruction=row["instruction"])]
    return {"prompt": format_completion_prompt(messages), "completion": row["cot_answer"]}


def to_dsf(row: Mapping[str, Any]) -> Row:
    """Convert a record to a chat without documents: the question, and only its final answer."""
    answer = assistant_message(f"{ANSWER_TAG} {row['final_answer']}")
    return {"messages": [*render(DSF_PROMPT, question=row["question"]), answer]}


def to_eval(row: Mapping[str, Any], *, several: bool = False) -> Row:
    """Convert a record to a test question: gold answer, documents, and where they come from.

    `answers`, `answerable` and `relevant` are the same for the evaluation flow, as in data/held_out.jsonl.
    A row whose label is a refusal has no answer. several: whether a row of the dataset has several oracles;
    then each has `oracles`, all of which are needed.
    """
    refused = row["final_answer"] == refusal().final
    return {
        "id": row["id"],
        "question": row["question"],
        "answers": [] if refused else [row["final_answer"]],
        "answerable": not refused,
        "relevant": oracle_ids(row),
        **({"oracles": oracle_ids(row)} if several else {}),
        "gold_final_answer": row["final_answer"],
        "gold_cot_answer": row["cot_answer"],
        "context": format_documents(parse_documents(row["instruction"])),
        **{
            key: row[key]
            for key in ("oracle_context", "has_oracle", "chunk_id", "source", "page", "type", "origin")
        },
    }


def _has_refusals(raft_jsonl: Path) -> bool:
    refused = refusal().final
    return any(row["final_answer"] == refused for _, row in _read_rows(raft_jsonl))


def _question(row: Mapping[str, Any]) -> str:
    return question_id(row["chunk_id"], row["question"])


def _file_names(formats: Sequence[str]) -> list[str]:
    names = [f"{split}.jsonl" for split in SPLITS]
    for name in formats:
        if name != "hf":
            names += [split + _SUFFIXES[name] for split in (("test",) if name == "eval" else SPLITS)]
    return names


def _drill_names(formats: Sequence[str]) -> list[str]:
    drilled = {"hf", *formats} - {"dsf", "dpo", "eval"}
    return [DRILLS + suffix for name, suffix in _SUFFIXES.items() if name in drilled]


def _read_rows(path: Path) -> Iterator[tuple[bytes, Row]]:
    """Yield each record with the bytes of its line. Raises UserError, with the line number, for a bad one."""
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
            if not isinstance(row, dict) or not has_fields(row) or row["split"] not in SPLITS:
                fields = fields_of(several="oracle_ids" in row) if isinstance(row, dict) else {}
                keys = ", ".join(sorted(fields.keys() ^ row.keys())) if fields else ""
                raise UserError(
                    f"{path}, line {number} is not a RAFT record ({keys or 'bad split'}); run generate again"
                )
            yield line if line.endswith(b"\n") else line + b"\n", row


class _Writer(Protocol):
    """A file being written; `add` takes the bytes of a line or, for Parquet, a record."""

    rows: int

    def add(self, row: Any) -> None: ...


@contextmanager
def _open_writer(path: Path, *, several: bool) -> Iterator[_Writer]:
    """Open a dataset file for writing; it gets its name on success and is removed on failure."""
    with replacing(path) as staging:
        writer = (
            _Parquet(staging, parquet_schema(several=several))
            if path.suffix == ".parquet"
            else _Jsonl(staging)
        )
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
    def __init__(self, path: Path, schema: Any) -> None:
        import pyarrow.parquet

        self.rows, self._buffer = 0, []  # type: tuple[int, list[Row]]
        self._schema = schema
        self._writer = pyarrow.parquet.ParquetWriter(path, self._schema)
        self.close = self._writer.close

    def add(self, row: Row) -> None:
        self._buffer.append(row)
        self.rows += 1
        if len(self._buffer) == _ROW_GROUP:
            self.flush()

    def flush(self) -> None:
        import pyarrow

        if not self._buffer:
            return
        try:
            self._writer.write_table(pyarrow.Table.from_pylist(self._buffer, schema=self._schema))
        except (pyarrow.ArrowException, TypeError) as error:
            raise UserError(f"Parquet: a row does not fit the schema: {error}") from None
        self._buffer = []


def parquet_schema(*, several: bool = False) -> Any:
    """Return the Arrow schema of the records; it depends only on whether some have several oracles."""
    import pyarrow

    types = {
        str: pyarrow.string(),
        bool: pyarrow.bool_(),
        int: pyarrow.int64(),
    }
    nested = pyarrow.list_(pyarrow.list_(pyarrow.string()))
    context = pyarrow.struct([("title", nested), ("sentences", nested)])
    columns = []
    for name, field in fields_of(several=several).items():
        single = pyarrow.list_(types[field.items]) if field.type is list else types.get(field.type)
        columns.append((name, context if field.type is dict else single))
    return pyarrow.schema(columns)
