"""Compute what tokens cost, by the price table in tools/raft/models/prices.json."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError

PRICES = Path(__file__).with_name("prices.json")
PER = 1_000_000  # tokens per price in the table
BATCH_SHARE = 0.5  # of the list price, for replies within 24 hours; OpenAI and Azure OpenAI charge that

# A suffix that does not change the price of a known name: the date of a snapshot (-2024-08-06, -0613).
_SNAPSHOT = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{4})")
# A model fine-tuned at OpenAI is named ft:BASE:ORGANISATION:NAME:ID.
_TUNED = re.compile(r"(?:-\d{4}-\d{2}-\d{2})?:.*")
_NUMBERS = ("input", "output", "training", "training_hour", "hosting_hour", "context", "training_context")


@dataclass(frozen=True)
class Price:
    """The prices of a model, in dollars per 1,000,000 tokens or per hour, and its context in tokens."""

    name: str
    input: float | None = None
    output: float | None = None
    training: float | None = None  # per token trained on, counted in every epoch
    training_hour: float | None = None
    hosting_hour: float | None = None
    context: int | None = None
    training_context: int | None = None  # if fine-tuning takes shorter rows than the model reads
    source: str = ""
    as_of: str = ""


def load_prices(path: Path | None = None) -> dict[str, Price]:
    """Load the price table; models in the user's own file override or extend the project's.

    The file has the form {"models": {NAME: {"input": dollars, "output": dollars}}}, per 1,000,000 tokens.
    The keys of the result are lower-case names. Raises UserError if a file is missing or invalid.
    """
    prices = _read_prices(PRICES)
    if path is not None:
        prices.update(_read_prices(path))
    return prices


def find_price(model: str, prices: Mapping[str, Price]) -> Price | None:
    """Return the price of a model, or None if the table does not have it; see `match_name`."""
    name = match_name(_fold(model), prices)
    return prices[name] if name else None


def match_name(wanted: str, names: Collection[str]) -> str | None:
    """Return which of the names, all in lower case, is a model's; None if none is.

    A name matches if it is equal, or if it is the longest known name followed by the date of a snapshot
    (gpt-5.6-luna-2026-07-09 → gpt-5.6-luna) or, for ft: names, by the user's own part. So neither NAME-audio
    nor a deployment called NAME-ours is taken for NAME.
    """
    if wanted in names:
        return wanted
    for name in sorted(names, key=len, reverse=True):
        suffix = _TUNED if name.startswith("ft:") else _SNAPSHOT
        if wanted.startswith(name) and suffix.fullmatch(wanted[len(name) :]):
            return name
    return None


def dollars(
    model: str, prompt_tokens: int, completion_tokens: int, prices: Mapping[str, Price]
) -> float | None:
    """Compute the cost of the tokens; None, never 0, for a model without a price in the table."""
    price = find_price(model, prices)
    if price is None or price.input is None or price.output is None:
        return None
    return (prompt_tokens * price.input + completion_tokens * price.output) / PER


def show_dollars(amount: float | None, model: str = "") -> str:
    """Format an amount for people; if it is unknown, name the option that supplies a price."""
    if amount is None:
        return f"unknown (no price for {model or 'this model'}; give one with --prices FILE)"
    return "less than $0.01" if 0 < amount < 0.01 else f"${amount:,.2f}"


def context_of(model: str, prices: Mapping[str, Price]) -> int | None:
    """Return the longest row, in tokens, that a model can be fine-tuned on; None if unknown."""
    price = find_price(model, prices)
    return (price.training_context or price.context) if price else None


def _fold(name: str) -> str:
    return name.strip().casefold()


def _read_prices(path: Path) -> dict[str, Price]:
    try:
        table = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UserError(f"cannot read the prices in {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"the prices in {path} are not JSON: {error}") from None
    models = table.get("models") if isinstance(table, dict) else None
    if not isinstance(models, dict):
        raise UserError(f'{path} has no "models"; see tools/raft/models/prices.json for the format')
    prices: dict[str, Price] = {}
    for name, entry in models.items():
        if _fold(name) in prices:
            raise UserError(f"{path} lists {name} twice")
        prices[_fold(name)] = _read_price(name, entry, path)
    return prices


def _read_price(name: str, entry: Any, path: Path) -> Price:
    allowed = Price.__dataclass_fields__.keys() - {"name"} | {"note"}
    if not isinstance(entry, dict) or not entry.keys() <= allowed:
        unknown = ", ".join(sorted(entry.keys() - allowed)) if isinstance(entry, dict) else entry
        raise UserError(f"{path}: {name} has {unknown!r}; allowed are {', '.join(sorted(allowed))}")
    for field in _NUMBERS:
        value = entry.get(field)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf")
        ):
            raise UserError(f"{path}: {field} of {name} is {value!r}; expected a number of at least 0")
    if (entry.get("input") is None) != (entry.get("output") is None):
        raise UserError(f"{path}: {name} needs both input and output, in dollars per {PER:,} tokens")
    return Price(name=name, **{key: value for key, value in entry.items() if key != "note"})
