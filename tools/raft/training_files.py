"""Look at the files an order trains on: where they are, whether they may be trained on, how long they are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from .errors import UserError
from .job import Order
from .vet import count_by_document, load_counter, vet_files


def has_rows(path: Path) -> bool:
    """Tell whether a file is there and holds anything."""
    return path.is_file() and path.stat().st_size > 0


def check_files(order: Order, *, model: str, hosted: bool) -> None:
    """Raise UserError for a dataset that must not be trained on, naming its first fault."""
    if not order.file("train").is_file():
        raise UserError(f"{order.file('train')} is missing: run generate with --format {order.api}")
    findings = vet_files(order.dataset, model=model, hosted=hosted)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        more = f", and {len(errors) - 1} more errors" if len(errors) > 1 else ""
        raise UserError(f"{order.dataset} must not be trained on: {errors[0]}{more}; generate it again")


def count_tokens(order: Order, *, parts: Sequence[str] = ("train",)) -> int:
    """Count the tokens trained on, all epochs, by the embedded tokenizer: an estimate."""
    count = count_by_document(load_counter())
    total = 0
    for path in filter(has_rows, (order.file(part) for part in parts)):
        with path.open(encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                texts = [message["content"] for message in row.get("messages", ())] or row.values()
                total += sum(count(text) for text in texts)
    return round(total * order.epochs)
