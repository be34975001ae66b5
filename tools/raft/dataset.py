"""Write the split files of a dataset, in the formats that fine-tuning and evaluation take."""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import UserError
from .parse import ANSWER_TAG, question_id
from .prompts import Message, render
from .sdk import as_prompt
from .splits import DRILLS, SPLITS, part_of
from .vet import Finding, vet_files
from .vet_records import FIELDS

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

    `checks` goes to `vet_files`. Gives {file name: {rows, bytes, sha256}} and the findings, none of
    them an error. Raises UserError where there is one: raft.jsonl is untouched, what stood in `out`
    before still does, and the refused files stay in `out`/.staging with findings.txt, all that is wrong.
    """
    staging = out / STAGING
    for left_over in staging.glob("*"):
        left_over.unlink()
    files = write_datasets(raft_jsonl, staging, formats=formats, prompt=prompt)
    findings = vet_files(staging, **checks)
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
    files: dict[str, _Part] = {}
    asked: set[str] = set()
    with ExitStack() as stack:

        def begin(names: Sequence[str]) -> None:
            for name in names:
                kind = _Parquet if name.endswith(".parquet") else _Jsonl
                files[name] = stack.enter_context(kind(out / name))

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
                    file.add(_dump(shapes[name](row)))
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


def describe_file(path: Path) -> dict[str, Any]:
    """Give the size and the sha256 of a file, as the manifest lists them."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def to_chat(row: Mapping[str, Any], prompt: str = PROMPT) -> Row:
    """Shape a record into a chat for fine-tuning: what the model will be sent, then its answer."""
    return {"messages": [*render(prompt, instruction=row["instruction"]), _assistant(row)]}


def to_completion(row: Mapping[str, Any], prompt: str = PROMPT) -> Row:
    """Shape a record into a completion and the prompt that a completion endpoint would be sent."""
    messages: list[Any] = [*render(prompt, instruction=row["instruction"])]
    return {"prompt": as_prompt(messages), "completion": row["cot_answer"]}


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
        "context": "".join(
            f"<DOCUMENT>{document}</DOCUMENT>\n"
            for documents in row["context"]["sentences"]
            for document in documents
        ),
        **{
            key: row[key]
            for key in ("oracle_context", "has_oracle", "chunk_id", "source", "page", "type", "origin")
        },
    }


def _assistant(row: Mapping[str, Any]) -> Message:
    return {"role": "assistant", "content": row["cot_answer"]}


def _dump(row: Row) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n"


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
                    f"{path}, line {number} is no JSON; run generate again to rebuild it"
                ) from None
            if not isinstance(row, dict) or row.keys() != FIELDS.keys() or row["split"] not in SPLITS:
                keys = ", ".join(sorted(FIELDS.keys() ^ row.keys())) if isinstance(row, dict) else ""
                raise UserError(
                    f"{path}, line {number} is no RAFT record ({keys or 'bad split'}); run generate again"
                )
            yield line if line.endswith(b"\n") else line + b"\n", row


class _Part(AbstractContextManager["_Part"]):
    """A file in the making: it takes its name when all went well, and is gone when not."""

    def __init__(self, path: Path) -> None:
        self.path, self.part, self.rows = path, path.with_name(path.name + ".part"), 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)
        if kind is None:
            os.replace(self.part, self.path)
        else:
            self.part.unlink(missing_ok=True)

    @abstractmethod
    def add(self, row: Any) -> None:
        """Add a row: the bytes of its line, or the record for a table."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Write what is left and close the file."""


class _Jsonl(_Part):
    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._file = self.part.open("wb")

    def add(self, row: bytes) -> None:
        self._file.write(row)
        self.rows += 1

    def close(self, *, failed: bool) -> None:
        self._file.close()


class _Parquet(_Part):
    def __init__(self, path: Path) -> None:
        import pyarrow.parquet

        super().__init__(path)
        self._schema, self._waiting = parquet_schema(), []  # type: tuple[Any, list[Row]]
        self._writer = pyarrow.parquet.ParquetWriter(self.part, self._schema)

    def add(self, row: Row) -> None:
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) == _ROW_GROUP:
            self._flush()

    def close(self, *, failed: bool) -> None:
        if self._waiting and not failed:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        try:
            self._writer.write_table(pyarrow.Table.from_pylist(self._waiting, schema=self._schema))
        except (pyarrow.ArrowException, TypeError) as error:
            raise UserError(f"{self.path.name}: a row does not fit the schema: {error}") from None
        self._waiting = []


def parquet_schema() -> Any:
    """Give the Arrow schema of the records; it does not depend on the rows."""
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
        [(name, context if name == "context" else kinds[kind]) for name, (kind, _) in FIELDS.items()]
    )
