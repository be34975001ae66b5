"""Know how long a model lives at its host, by lives.json beside it: warn before it goes, refuse after."""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from ..errors import UserError
from .pricing import match_name

log = logging.getLogger(__name__)

Host = Literal["openai", "azure"]
TuningApi = Literal["openai", "azure-ml"]  # the fine-tuning API, at whichever host, or a workspace's job

LIVES = Path(__file__).with_name("lives.json")
NOTICE = 90  # days before an end in which to warn of it
IGNORE = "RAFT_IGNORE_RETIREMENT"

_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".ai.azure.com")
# A tuned model is named ft:BASE:ORGANISATION:NAME:ID at OpenAI, and BASE.ft-JOB at Azure.
_TUNED = re.compile(r"ft:([^:]+)(?::.*)?|(.+)\.ft-.*", re.IGNORECASE)

_told: set[str] = set()  # the warnings of this process


@dataclass(frozen=True)
class Life:
    """How long a model lives at a host; None for a date that has not been announced."""

    name: str
    host: Host
    retires: date | None = None  # the first day on which it is not called any more
    training_ends: date | None = None  # the first day on which no new job starts
    tuned_retires: date | None = None  # the first day on which models tuned from it are not called any more
    tunable: tuple[TuningApi, ...] | None = None  # None if unknown
    training_types: tuple[str, ...] | None = None  # Azure's tiers of a training, None if unknown
    deployment_types: tuple[str, ...] | None = None  # and of a deployment of what was tuned from it
    instead: str = ""  # a model that stands in its place at the host
    train_instead: str = ""  # what to train in its place, for a message
    source: str = ""
    as_of: str = ""
    note: str = ""


class Found(NamedTuple):
    """What a model's name says: which base model it is, and whether it was tuned."""

    life: Life
    tuned: bool


def check_alive(
    base_url: str, model: str, *, today: date | None = None, env: Mapping[str, str] | None = None
) -> None:
    """Raise UserError if a model at an address is gone; warn, once a process, if it goes within 90 days.

    At Azure, the name is that of a deployment: it may have been given to another model, or the deployment
    upgraded, so that a date in the past is a warning there. Nothing is known of other addresses and names,
    and RAFT_IGNORE_RETIREMENT in `env` (default: the environment) silences everything.
    """
    host = host_of(base_url)
    found = find_life(host, model) if host and not _ignored(env) else None
    if found is None:
        return
    life, today = found.life, today or date.today()
    end = life.tuned_retires if found.tuned else life.retires
    where = f"{model} at {host_name(life.host)}"
    instead = f"; in its place: {life.instead}" if life.instead else ""
    if end is None or (end - today).days > NOTICE:
        return
    if end > today:
        _tell(f"{where} retires {_in_days(end, today)}, on {end}{instead}")
    elif life.host == "azure":
        _tell(f"{where} was retired on {end}, a deployment of that name answers if it was upgraded{instead}")
    else:
        raise UserError(
            f"{where} was retired on {end}: use {life.instead or 'another model'} {how_to_ignore()}"
        )


def check_trainable(
    host: Host | None,
    model: str,
    api: TuningApi,
    *,
    today: date | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Raise UserError if a host does not train a model by an API (any more); warn if it ends within 90 days.

    What is not in the table passes.
    """
    found = find_life(host, model) if host and not _ignored(env) else None
    if found is None:
        return
    life, today = found.life, today or date.today()
    where = f"{model} at {host_name(life.host)}"
    instead = life.train_instead
    # A base model whose training has no date of its own is trained as long as it is called.
    end = life.training_ends or life.retires
    if end and end <= today:
        raise UserError(f"{where} takes no new fine-tuning jobs since {end}: {instead} {how_to_ignore()}")
    if life.tunable is not None and api not in life.tunable:
        way = "the fine-tuning API" if api == "openai" else "an Azure ML job"
        raise UserError(f"{where} cannot be fine-tuned by {way}: {instead} {how_to_ignore()}")
    if end and (end - today).days <= NOTICE:
        gone = f", and models tuned from it retire on {life.tuned_retires}" if life.tuned_retires else ""
        ends = f"takes no new fine-tuning jobs {_in_days(end, today)}, from {end} on"
        _tell(f"{where} {ends}{gone}; then: {instead}")


def offered_types(
    model: str,
    what: Literal["training_types", "deployment_types"],
    *,
    env: Mapping[str, str] | None = None,
) -> tuple[str, ...] | None:
    """Return in which tiers Azure trains a model, or deploys what was tuned from it; None if unknown."""
    found = None if _ignored(env) else find_life("azure", model)
    return getattr(found.life, what) if found else None


def check_pairs(host: Host | None, model: str, *, env: Mapping[str, str] | None = None) -> None:
    """Raise UserError if a host does not train a model on pairs of answers (DPO).

    A host whose list is not known passes.
    """
    if host is None or _ignored(env):
        return
    listed = _read()[host].get("pairs")
    if listed and not match_name(_base_name(model), listed["models"]):
        raise UserError(
            f"{model} at {host_name(host)} is not trained on pairs: use {', '.join(listed['models'])}, or "
            f"--backend trl with a model of your own {how_to_ignore()}"
        )


def find_life(host: Host, model: str) -> Found | None:
    """Return what is known of a model at a host, or None; names match as in `pricing.find_price`."""
    lives = {name.casefold(): life for name, life in load_lives()[host].items()}
    name = match_name(_base_name(model), lives)
    return Found(lives[name], bool(_TUNED.fullmatch(model.strip()))) if name else None


def _base_name(model: str) -> str:
    """Return the name of the base model of a tuned one, or of a base model itself, folded."""
    match = _TUNED.fullmatch(model.strip())
    return ((match[1] or match[2]) if match else model).strip().casefold()


def host_of(base_url: str) -> Host | None:
    """Return whose address it is; None if it belongs to neither OpenAI nor Azure."""
    name = (urlsplit(base_url).hostname or "").lower()
    if name == "api.openai.com" or name.endswith(".api.openai.com"):
        return "openai"
    return "azure" if name.endswith(_AZURE) else None


def host_name(host: Host) -> str:
    """Return a host's name, for people."""
    return str(_read()[host]["name"])


@cache
def load_lives() -> dict[Host, dict[str, Life]]:
    """Return the lives of each host's models by name."""
    return {host: _read_lives(host, table) for host, table in _read().items()}


@cache
def _read() -> dict[Host, Any]:
    hosts: dict[Host, Any] = json.loads(LIVES.read_text(encoding="utf-8"))["hosts"]
    return hosts


def _read_lives(host: Host, table: Mapping[str, Any]) -> dict[str, Life]:
    common = {key: table[key] for key in ("source", "as_of", "train_instead")}
    return {name: _read_life(name, host, {**common, **entry}) for name, entry in table["models"].items()}


def _read_life(name: str, host: Host, entry: Mapping[str, Any]) -> Life:
    fields = dict(entry)
    for key in ("retires", "training_ends", "tuned_retires"):
        if key in fields:
            fields[key] = date.fromisoformat(fields[key])
    for key in ("tunable", "training_types", "deployment_types"):
        if key in fields:
            fields[key] = tuple(fields[key])
    return Life(name, host, **fields)


def _ignored(env: Mapping[str, str] | None) -> bool:
    return (os.environ if env is None else env).get(IGNORE, "").strip() not in ("", "0")


def _in_days(end: date, today: date) -> str:
    days = (end - today).days
    return f"in {days} day{'s' * (days != 1)}"


def how_to_ignore() -> str:
    """Return how the user goes on although the table says no, for a message."""
    return f"({IGNORE}=1 goes on all the same, should {LIVES.name} be wrong)"


def _tell(line: str) -> None:
    if line not in _told:
        _told.add(line)
        log.warning("%s", line)
