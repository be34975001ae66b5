"""Leave the rows out that are longer than the model takes, keeping them and the reason."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import replacing, write_jsonl
from ..records import DRILLS
from .backend import FineTuneSpec
from .lengths import Lengths, Row

SKIPPED = "skipped.jsonl"
SHORTENED = "without-long-rows"  # the folder with the rest of the dataset


def leave_out_long(spec: FineTuneSpec, lengths: Lengths, out: Path) -> FineTuneSpec:
    """Copy the files to train on to `out`/SHORTENED without the rows that are too long.

    Returns the spec of the copies. The rows left out are in `out`/SKIPPED, each with its reason. Raises
    UserError if no row to train on is left.
    """
    long: dict[Path, dict[int, Row]] = {}
    for row in lengths.long:
        long.setdefault(row.path, {})[row.line] = row
    (out / SHORTENED).mkdir(parents=True, exist_ok=True)
    shortened = shortened_spec(spec, out)
    skipped: list[dict[str, Any]] = []
    for part in ("train", "valid", DRILLS):
        path, copy = spec.file(part), shortened.file(part)
        if not path.is_file():
            copy.unlink(missing_ok=True)
            continue
        with path.open("rb") as source, replacing(copy) as staging, staging.open("wb") as target:
            for number, line in enumerate(source, start=1):
                if too_long := long.get(path, {}).get(number):
                    skipped.append(_skipped(too_long, lengths, line))
                else:
                    target.write(line)
    write_jsonl(out / SKIPPED, skipped)
    if not shortened.file("train").stat().st_size:
        raise UserError(f"no row to train on is left: {lengths.describe_long()}")
    return shortened


def shortened_spec(spec: FineTuneSpec, out: Path) -> FineTuneSpec:
    """Return the spec of the copy that leave_out_long made in `out`, or the same spec if there is none."""
    folder = out / SHORTENED
    return dataclasses.replace(spec, dataset=folder) if folder.is_dir() else spec


def _skipped(row: Row, lengths: Lengths, line: bytes) -> dict[str, Any]:
    """Return the line of SKIPPED for a row."""
    return {
        "file": str(row.path),
        "line": row.line,
        "reason": f"longer than the {lengths.context:,} tokens that {lengths.model} takes",
        "tokens": row.tokens,
        "row": json.loads(line.decode("utf-8-sig")),
    }
