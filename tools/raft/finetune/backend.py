"""The interface of a fine-tuning backend, and the types it exchanges with its callers."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypedDict

from ..choices import Form, Method, Quantization, TrainingType, check_choice
from ..errors import UserError
from ..files import hash_file
from ..models.weights import ADAPTER_CONFIG
from ..records import DRILLS, content_id

if TYPE_CHECKING:
    from .lengths import Lengths

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]

ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class FineTuneSpec:
    """Everything that determines the result of a fine-tuning job."""

    dataset: Path  # folder written by generate
    model: str  # base model, as the backend names it
    api: Form = "chat"
    epochs: float = 3
    learning_rate: float | None = None
    batch_size: int | None = None
    rank: int | None = None  # of the LoRA adapter; local and trl
    seed: int = 42
    suffix: str = "raft"  # part of the tuned model's name
    quantize: Quantization = "none"  # of the base model; trl only
    overrides: tuple[str, ...] = ()  # settings of TRL, KEY=VALUE; trl only
    minutes: float | None = None  # budget that the epochs are cut down to; local only
    patience: int | None = None  # validations without a lower loss before training stops; trl only
    training_type: TrainingType | None = None  # tier of the training; openai at Azure only
    method: Method = "sft"  # dpo: on pairs of answers; trl and openai
    beta: float | None = None  # of dpo: how strongly the model is held to what it was before

    def __post_init__(self) -> None:
        check_choice("api", self.api, Form)
        check_choice("method", self.method, Method)
        if self.training_type is not None:
            check_choice("training_type", self.training_type, TrainingType)
        if self.method == "dpo" and self.api != "chat":
            raise UserError(f"--method dpo trains on chats: leave out --format {self.api}")
        if self.method != "dpo" and self.beta is not None:
            raise UserError("--beta is for --method dpo")

    @property
    def form(self) -> str:
        """Return the form of the files to train on."""
        return "dpo" if self.method == "dpo" else self.api

    def file(self, part: str) -> Path:
        """Return the path of a part of the dataset (a split or the drills) in the form trained on."""
        return self.dataset / f"{part}.{self.form}.jsonl"

    @property
    def key(self) -> str:
        """Derive an id from the settings and the content of the files, independent of their location."""
        settings = {**dataclasses.asdict(self), "dataset": ""}
        # A job that does not use these has the key that earlier versions gave it.
        for name, unused in (
            ("quantize", self.quantize == "none"),
            ("overrides", not self.overrides),
            ("minutes", self.minutes is None),
            ("patience", self.patience is None),
            ("training_type", self.training_type in (None, "global")),
            ("method", self.method == "sft"),
            ("beta", self.beta is None),
        ):
            if unused:
                del settings[name]
        paths = [self.file("train"), self.file("valid")]
        # Local training only: the drills, and the adapter that training continues from.
        paths += filter(Path.is_file, (self.file(DRILLS), Path(self.model) / WEIGHTS))
        hashes = [hash_file(path) if path.is_file() else "" for path in paths]
        return content_id(json.dumps(settings, sort_keys=True), *hashes)


class Estimate(NamedTuple):
    """The expected size and cost of a job; dollars is None if no price is known."""

    tokens: int  # trained on, over all epochs
    dollars: float | None
    basis: str  # how the amount was derived
    seconds: float | None = None  # of a local training, on this machine
    epochs: float | None = None  # those that fit into the spec's minutes


class Pace(TypedDict, total=False):
    """How fast a job goes, where that is known."""

    tokens_per_second: float
    seconds_left: float


class Status(Pace):
    """The state of a job and its latest metrics."""

    state: State
    message: str  # one line, or ""
    step: int | None
    steps: int | None
    metrics: dict[str, float]  # train_loss, valid_loss, …


class Result(TypedDict):
    """What a successful job produced."""

    model: str  # the name to call the tuned model by
    connection: Path | None  # its connection's YAML file
    files: list[str]
    metrics: dict[str, float]


class Backend(Protocol):
    """A place where jobs run."""

    @property
    def name(self) -> str:
        """Return the name used on the command line."""

    def check(self, spec: FineTuneSpec, *, skip_long: bool = False) -> Lengths:
        """Raise UserError if the spec cannot be trained here; nothing is uploaded. Return the rows' lengths.

        Rows longer than the model takes are an error unless they are skipped.
        """

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Estimate tokens and cost."""

    def check_life(self, spec: FineTuneSpec) -> None:
        """Raise UserError if the service does not train the model (any more); warn if it ends soon.

        It is asked before a job is submitted, not before one is followed, and needs no key.
        """

    def sign_in(self) -> None:
        """Raise UserError if the service could not be called because a key or a workspace is missing."""

    def find(self, spec: FineTuneSpec) -> str | None:
        """Return the latest job that carries the spec's key, whatever its state."""

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Upload missing files, create the job unless it exists already, and return its id."""

    def status(self, job: str) -> Status:
        """Return the status of a job."""

    def cancel(self, job: str) -> None:
        """Cancel a job."""

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Return the result of a successful job; its files go into `out`."""


def refuse_pairs(spec: FineTuneSpec, backend: str) -> None:
    """Raise UserError if a backend that trains on single answers is given pairs of them."""
    if spec.method == "dpo":
        raise UserError(
            f"--backend {backend} does not train on pairs: use --method dpo with --backend trl, or with "
            "--backend openai"
        )


CONFIG, WEIGHTS = ADAPTER_CONFIG, "adapter_model.safetensors"  # the file names PEFT uses
GGUF = "adapter.gguf"  # the adapter for llama.cpp
