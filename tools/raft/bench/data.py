"""The files of the benchmarks: which are needed, where each is to be had, and reading them from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..files import read_jsonl


class Source(NamedTuple):
    """Where the files of a column come from."""

    column: str
    files: tuple[str, ...]  # as published, below the repository's or the project's own address
    place: str
    licence: str
    note: str


_GORILLA = "github.com/ShishirPatil/gorilla, data/api and data/apibench"
SOURCES = (
    Source(
        "pubmedqa",
        ("ori_pqal.json", "test_ground_truth.json"),
        "github.com/pubmedqa/pubmedqa, data",
        "MIT",
        "the 500 questions of the ground truth are asked, the other 500 trained on",
    ),
    Source(
        "hotpotqa",
        ("hotpot_dev_distractor_v1.json", "hotpot_train_v1.1.json"),
        "hotpotqa.github.io",
        "CC BY-SA 4.0",
        "without the training file, two folds of the other",
    ),
    Source(
        "huggingface",
        ("huggingface_api.jsonl", "huggingface_eval.json", "huggingface_train.json"),
        _GORILLA,
        "Apache-2.0",
        "without the training file, two folds by API",
    ),
    Source(
        "torchhub",
        ("torchhub_api.jsonl", "torchhub_eval.json", "torchhub_train.json"),
        _GORILLA,
        "Apache-2.0",
        "",
    ),
    Source(
        "tensorflowhub",
        ("tensorflowhub_api.jsonl", "tensorflow_eval.json", "tensorflow_train.json"),
        _GORILLA,
        "Apache-2.0",
        "without the training file, two folds by API",
    ),
)


def find_file(folder: Path, *names: str) -> Path | None:
    """Return the first of these files that is in the folder."""
    return next((path for name in names if (path := folder / name).is_file()), None)


def need_file(folder: Path, *names: str) -> Path:
    """Return the first of these files that is in the folder; raises UserError if none is."""
    path = find_file(folder, *names)
    if path is None:
        raise UserError(f"{folder / names[0]} is missing: `bench sources` says where it is to be had")
    return path


def read_rows(path: Path, *fields: str) -> list[dict[str, Any]]:
    """Read objects that have these fields: JSON lines, or a list of JSON, which may also be one object.

    Raises UserError if the file cannot be read, naming the first row that lacks a field.
    """
    rows = _read_values(path)
    for number, row in enumerate(rows, start=1):
        missing = set(fields) - row.keys() if isinstance(row, dict) else fields
        if missing:
            raise UserError(f"{path}, entry {number}: it lacks {', '.join(sorted(missing))}")
    return rows


def _read_values(path: Path) -> list[Any]:
    if path.suffix == ".jsonl" or _is_lines(path):
        return [row for _, row in read_jsonl(path)]
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): `bench sources` says where it is to be had") from None
    return value if isinstance(value, list) else [value]


def _is_lines(path: Path) -> bool:
    """Return whether a file has JSON lines whatever its name says, as APIBench's do."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first, second = file.readline(1 << 20), file.readline(1 << 10)
    try:
        return isinstance(json.loads(first), dict) and bool(second.strip())
    except ValueError:
        return False
