"""What a backend of fine-tuning is given, and what it does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypedDict

from ..errors import UserError
from ..files import hash_file
from ..records import DRILLS, content_id

Api = Literal["chat", "completion", "dsf"]  # which files of a dataset are trained on
State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


ENDED = ("succeeded", "failed", "cancelled")


class Unreachable(UserError):
    """The service cannot be reached now, or is not well; a job that it has goes on."""


@dataclass(frozen=True)
class FineTuneSpec:
    """What is to be trained: everything that decides the result."""

    dataset: Path  # the folder that generate left
    model: str  # base model, in the backend's terms
    api: Api = "chat"  # which files of the dataset
    epochs: float = 3
    learning_rate: float | None = None
    batch_size: int | None = None
    rank: int | None = None  # of the LoRA adapter; local only
    seed: int = 42
    suffix: str = "raft"  # of the tuned model's name

    def file(self, part: str) -> Path:
        """Give the file of a part of the dataset, a split or the drills, in the form that is trained on."""
        return self.dataset / f"{part}.{self.api}.jsonl"

    @property
    def key(self) -> str:
        """Identify the spec by its settings and the content of its files, wherever these stand."""
        settings = {**dataclasses.asdict(self), "dataset": ""}
        paths = [self.file("train"), self.file("valid")]
        paths += filter(Path.is_file, (self.file(DRILLS), Path(self.model) / WEIGHTS))  # for a training here
        files = [hash_file(path) if path.is_file() else "" for path in paths]
        return content_id(json.dumps(settings, sort_keys=True), *files)


class Estimate(NamedTuple):
    """What a spec will take: dollars is None where no price is known."""

    tokens: int  # trained on, all epochs
    dollars: float | None
    basis: str  # what the amount rests on


class Status(TypedDict):
    """How a job is doing."""

    state: State
    message: str  # one line, "" for none
    step: int | None
    steps: int | None
    metrics: dict[str, float]  # train_loss, valid_loss, …


class Result(TypedDict):
    """What a job left."""

    model: str  # the name to call it by
    connection: Path | None  # the YAML written for it
    files: list[str]
    metrics: dict[str, float]


class Backend(Protocol):
    """Where jobs run."""

    @property
    def name(self) -> str:
        """Name the backend, as on the command line."""

    def check(self, spec: FineTuneSpec) -> None:
        """Raise UserError for what cannot be trained here, before anything is uploaded."""

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Say what the spec will take."""

    def sign_in(self) -> None:
        """Raise UserError where nobody could be called, for want of a key or a workspace."""

    def find(self, spec: FineTuneSpec) -> str | None:
        """Give the latest job that carries the spec's key, however it ended."""

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Upload what is not there yet, create the job unless one is under way, and give its id."""

    def status(self, job: str) -> Status:
        """Look at a job."""

    def cancel(self, job: str) -> None:
        """Cancel a job."""

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Fetch what a job that succeeded left, into `out` where it is files."""


CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # PEFT's names
