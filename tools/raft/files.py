"""Read and write files: atomic writes, JSON lines, hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .errors import UserError

BOM = "\ufeff"  # the byte order mark that some editors put at the start of a file
PROJECT = Path(__file__).resolve().parents[2]  # the checkout: data/, prompts/ and connections/ are below it


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a staging path that replaces `path` if the block succeeds and is removed if it fails.

    shared: several processes may write the file at once, each to a staging path of its own.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.part" if shared else f".{path.name}.part")
    try:
        yield staging
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, atomically."""
    with replacing(path) as staging:
        staging.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object, *, indent: int = 2) -> None:
    """Write a JSON file, atomically."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=indent, default=str) + "\n")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write JSON lines, atomically. Raises UserError if the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as staging, staging.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(map(json_line, rows))
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def json_line(row: Any) -> str:
    """Return a row, or any other JSON value, as one line, non-ASCII characters unescaped."""
    return json.dumps(row, ensure_ascii=False) + "\n"


def read_jsonl(
    path: Path, *, want: str = "expected a JSON object", what: str = "it"
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the 1-based number and the object of each line; skip blank lines and byte order marks.

    want: ends the message about a line that is not an object. what: the file in the message about one that
    is not UTF-8. Raises UserError for such a line, for such a file and for one that cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                line = line.removeprefix(BOM)  # files joined together have one inside
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if not isinstance(row, dict):
                    raise UserError(f"{path}, line {number}: {want}")
                yield number, row
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}; {want}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not UTF-8; save {what} as UTF-8") from None


def read_log(path: Path | None) -> list[dict[str, Any]]:
    """Read the complete JSON lines of a log, which may be missing or cut off by an interruption."""
    if path is None or not path.is_file():
        return []
    rows = []
    # Not splitlines(): a text may contain other line separators.
    for line in path.read_text(encoding="utf-8-sig").split("\n"):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object that this project wrote; return an empty one if the file is missing or damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError, TypeError):
        return {}


def hash_file(*paths: Path) -> str:
    """Compute the SHA-256 of a file, or of several one after another, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def describe_file(path: Path) -> dict[str, Any]:
    """Return the size and the SHA-256 of a file, as the manifests list them."""
    return {"bytes": path.stat().st_size, "sha256": hash_file(path)}


def hash_samples(path: Path, samples: int = 64, size: int = 1 << 16) -> str:
    """Compute the SHA-256 of evenly spaced parts of a file, its end among them, in hexadecimal."""
    digest = hashlib.sha256()
    last = max(0, path.stat().st_size - size)
    with path.open("rb") as file:
        for number in range(samples):
            file.seek(last * (number + 1) // samples)
            digest.update(file.read(size))
    return digest.hexdigest()
