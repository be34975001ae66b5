"""Check the files of a spec, and count their tokens."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from ..dataset.count_tokens import count_by_document, load_counter
from ..dataset.validate import FEWEST_ROWS, validate_files
from ..dataset.validate_chats import row_sequences
from ..errors import UserError
from ..files import read_jsonl
from ..models.pricing import context_of, load_prices
from .backend import FineTuneSpec
from .lengths import Lengths, estimate_lengths, refuse_long


def has_rows(path: Path) -> bool:
    """Return whether a file exists and is not empty."""
    return path.is_file() and path.stat().st_size > 0


def check_files(spec: FineTuneSpec, *, hosted: bool) -> None:
    """Raise UserError if the dataset must not be trained on, naming its first error; lengths are apart."""
    if not spec.file("train").is_file():
        raise UserError(f"{spec.file('train')} is missing: run generate with --format {spec.form}")
    findings = validate_files(spec.dataset, hosted=hosted)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f", and {len(errors) - 1} more errors" if len(errors) > 1 else ""
        raise UserError(f"{spec.dataset} must not be trained on: {errors[0]}{more}; run generate again")
    if spec.method == "dpo":
        _count_pairs(spec, fewest=FEWEST_ROWS if hosted else 1)


def _count_pairs(spec: FineTuneSpec, *, fewest: int) -> None:
    """Raise UserError if there are not enough pairs to train on."""
    path = spec.file("train")
    pairs = sum(1 for _ in read_jsonl(path))
    if pairs < fewest:
        raise UserError(
            f"{path}: {pairs or 'no'} pairs, and {fewest} are needed; manifest.json says why the other rows "
            "make none: generate more questions, or with --no-oracle refuse"
        )


def check_uploads(spec: FineTuneSpec, *, model: str, hosted: bool, skip_long: bool) -> Lengths:
    """Raise UserError if the files must not be sent to a service, for long rows unless they are skipped."""
    check_files(spec, hosted=hosted)
    paths = [spec.file("train"), spec.file("valid")]
    lengths = estimate_lengths(paths, model=model, context=context_of(model, load_prices()))
    if not skip_long:
        refuse_long(lengths)
    return lengths


@contextmanager
def without_bom(path: Path) -> Iterator[Path]:
    """Yield a file to upload: the file itself or, if it starts with a byte order mark, a copy without it."""
    with path.open("rb") as file:
        marked = file.read(len(BOM_UTF8)) == BOM_UTF8
    if not marked:
        yield path
        return
    with TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(path.read_bytes().removeprefix(BOM_UTF8))
        yield copy


def count_tokens(spec: FineTuneSpec, *, parts: Sequence[str] = ("train",)) -> int:
    """Estimate the tokens trained on, over all epochs, with the embedded tokenizer."""
    count = count_by_document(load_counter())
    total = 0
    for path in filter(has_rows, (spec.file(part) for part in parts)):
        for _, row in read_jsonl(path):
            total += sum(count(text) for texts in row_sequences(row) for text in texts)
    return round(total * spec.epochs)
