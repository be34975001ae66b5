"""Fine-tune here: a LoRA adapter for a GGUF or a Hugging Face model, on processors or one GPU.

The training runs in a process of its own, `python -m tools.raft.finetune.local.backend`, which ends when the
process that wanted it does, however that ends; the next one takes it up at its last checkpoint.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ...child import exit_with_parent, start_child
from ...errors import UserError, one_line
from ...files import read_jsonl, read_log, read_object
from ...models.weights import default_model
from ...records import DRILLS
from ..backend import CONFIG, Estimate, FineTuneSpec, Result, State, Status
from ..training_files import check_files, count_tokens
from .pack import PACK_TOKENS, Example, Pack, copied_spans, pack_examples, tokenise, tokenise_pair
from .train import LOG, Step, TrainingConfig, TrainingResult, train_adapter

CONTEXT = 2048  # tokens a row may have: memory and time grow with the square of it
PARTS = ("train", DRILLS)  # of the dataset, that are learnt
COPYING = 0.3  # weight of a copied token in the loss
CANCELLED = "cancelled"  # what stands in trained.json in place of a result
PORT = 8082  # where the tuned model is served, beside the base model at 8081


class LocalBackend:
    """Train on this machine, in `folder`; a backend of job.py."""

    name = "local"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._worker: subprocess.Popen[str] | None = None

    def check(self, spec: FineTuneSpec) -> None:
        """Raise UserError for a model that is not there, or a dataset that must not be trained on."""
        _foundation(spec)
        check_files(spec, model="", hosted=False)

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        """Count the tokens; nothing is paid."""
        basis = "on this machine, where what rows share is computed once"
        return Estimate(count_tokens(spec, parts=PARTS), 0.0, basis)

    def sign_in(self) -> None:
        """Nobody is asked."""

    def find(self, spec: FineTuneSpec) -> str | None:
        """Give the job of the spec, if it was begun in this folder."""
        return spec.key if read_object(self._folder / "order.json").get("key") == spec.key else None

    def submit(self, spec: FineTuneSpec, on_step: Callable[[str], None]) -> str:
        """Begin to train in a process of its own."""
        self._folder.mkdir(parents=True, exist_ok=True)
        stale = ["trained.json"] if self.find(spec) else ["trained.json", "checkpoint.safetensors", LOG]
        for name in stale:
            (self._folder / name).unlink(missing_ok=True)
        model = str(Path(spec.model).resolve()) if Path(spec.model).exists() else spec.model
        dataset = str(spec.dataset.resolve())
        settings = {**asdict(spec), "dataset": dataset, "model": model, "key": spec.key}
        (self._folder / "order.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
        on_step(f"training in {self._folder}")
        self._start()
        return spec.key

    def status(self, job: str) -> Status:
        """Look at the training; one whose process ended with ours goes on from its checkpoint."""
        last, ended = _last_step(self._folder / LOG), read_object(self._folder / "trained.json")
        metrics = {k: v for k, v in last.items() if k.endswith("_loss") and v is not None}
        state: State = "running"
        message = str(ended.get("error", ""))
        if ended:
            state = "cancelled" if message == CANCELLED else "failed" if message else "succeeded"
        elif self._worker is None:
            self._start()
        elif self._worker.poll() is not None and not read_object(self._folder / "trained.json"):
            state, message = "failed", f"the training ended by itself; see {self._folder / 'train.err'}"
        return Status(
            state=state, message=message, step=last.get("step"), steps=last.get("steps"), metrics=metrics
        )

    def cancel(self, job: str) -> None:
        """Stop the training; what it came to stays in its checkpoint."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
        (self._folder / "trained.json").write_text(json.dumps({"error": CANCELLED}) + "\n", encoding="utf-8")

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        """Give what the training left: the adapter, its GGUF form, and a connection to it."""
        trained = read_object(self._folder / "trained.json")
        connection = out / "connection.yaml"
        connection.write_text(
            f"# Written by finetune: the tuned model, once it is served at port {PORT} of this machine.\n"
            f"name: raft\ntype: open_ai\napi_key: none-needed\nbase_url: http://127.0.0.1:{PORT}/v1\n",
            encoding="utf-8",
        )
        metrics = {key: trained[key] for key in ("valid_loss", "tokens", "seconds") if trained.get(key)}
        files = [name for name in ("adapter.gguf", "adapter", LOG) if (self._folder / name).exists()]
        return Result(model=str(trained["model"]), connection=connection, files=files, metrics=metrics)

    def _start(self) -> None:
        with (self._folder / "train.err").open("w", encoding="utf-8") as errors:
            self._worker = start_child(
                "tools.raft.finetune.local.backend",
                str(self._folder.resolve()),
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )


def train_from_spec(
    spec: FineTuneSpec, folder: Path, on_step: Callable[[Step], None] = lambda step: None
) -> TrainingResult:
    """Train a spec's adapter into the folder, and write folder/adapter.gguf where that can be.

    A model that is itself the folder of an earlier training goes on from its adapter. Defaults where the
    spec leaves them open: learning rate 5e-4, rank 16 or the earlier one's, 4 rows a step. Raises
    UserError that names a row longer than the context.
    """
    from .attention import use_matrix_products
    from .export_gguf import can_export, export_adapter

    base, start, rank = _foundation(spec)
    model, tokenizer = load_model(base)
    if next(model.parameters()).device.type == "cpu":
        use_matrix_products(model)
    recipe = TrainingConfig(
        epochs=spec.epochs,
        learning_rate=spec.learning_rate or TrainingConfig.learning_rate,
        rank=rank,
        batch=spec.batch_size or TrainingConfig.batch,
        seed=spec.seed,
    )
    # Rows about the same documents stay together, even where that makes a step somewhat larger.
    most = 2 * recipe.batch
    train, valid = (list(make_packs(spec, parts, tokenizer, most)) for parts in (PARTS, ("valid",)))
    trained = train_adapter(model, train, valid, folder, recipe, start=start, on_step=on_step)
    if can_export(base):
        export_adapter(folder, folder / "adapter.gguf", base=base)
    return trained


def load_model(base: Path) -> tuple[Any, Any]:
    """Load model and tokenizer for training: bfloat16 where this machine computes faster with it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(base)}
    if base.suffix == ".gguf":
        place = {"pretrained_model_name_or_path": str(base.parent), "gguf_file": base.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        model = AutoModelForCausalLM.from_pretrained(**place, dtype=_faster_type(device))
    except (OSError, ValueError) as error:
        raise UserError(f"{base} cannot be loaded: {one_line(error)}") from None
    placed: Any = model
    return placed.to(device), tokenizer


def _faster_type(device: str) -> Any:
    """Give bfloat16 where matrix products in it are faster than in float32, as this machine shows."""
    import torch

    def seconds(kind: Any) -> float:
        a = torch.ones(768, 768, dtype=kind, device=device)
        best = float("inf")
        for _ in range(5):
            begun = time.perf_counter()
            float((a @ a)[0, 0])
            best = min(best, time.perf_counter() - begun)
        return best

    return torch.bfloat16 if seconds(torch.bfloat16) < seconds(torch.float32) else torch.float32


def make_packs(spec: FineTuneSpec, parts: Sequence[str], tokenizer: Any, most: int) -> Iterator[Pack]:
    """Pack the rows of these parts of the dataset, those that begin alike together.

    Raises UserError that names a row too long.
    """
    examples = []
    for part in parts:
        for number, row in enumerate(read_rows(spec, part), start=1):
            example = to_example(row, tokenizer, drill=part == DRILLS)
            length = len(example.prompt) + len(example.reply)
            if length > CONTEXT:
                raise UserError(
                    f"{spec.file(part)}, line {number} has {length:,} tokens, {CONTEXT:,} fit: "
                    "generate with a smaller --chunk-size or fewer --distractors"
                )
            examples.append(example)
    examples.sort(key=lambda example: example.prompt)
    return pack_examples(examples, limit=PACK_TOKENS, most=most)


def to_example(row: dict[str, Any], tokenizer: Any, *, drill: bool = False) -> Example:
    """Turn a chat or a completion row into tokens; what only copies a quote weighs less."""
    reply = row["messages"][-1]["content"] if "messages" in row else row["completion"]
    copied = copied_spans(reply)
    if "messages" in row:
        return tokenise(row["messages"], tokenizer, copied, COPYING, drill=drill)
    return tokenise_pair(row["prompt"], reply, tokenizer, copied, COPYING, drill=drill)


def read_rows(spec: FineTuneSpec, part: str) -> Iterator[dict[str, Any]]:
    """Read the rows of a part in the spec's form; raises UserError where there is no file to train on."""
    path = spec.file(part)
    if not path.exists():
        if part == "train":
            raise UserError(f"{path} is missing; run generate with --format {spec.api}")
        return
    want = "not a row to train on; run generate again"
    for number, row in read_jsonl(path, want=want):
        if "messages" not in row and not {"prompt", "completion"} <= row.keys():
            raise UserError(f"{path}, line {number}: {want}")
        yield row


def _foundation(spec: FineTuneSpec) -> tuple[Path, Path | None, int]:
    """Give the base model, the folder of the adapter to begin from if any, and the rank.

    Raises UserError where one is missing, or an adapter of another rank is asked for.
    """
    folder = Path(spec.model)
    if not (folder / CONFIG).is_file():
        return _base(spec.model), None, spec.rank or TrainingConfig.rank
    earlier, rank = read_object(folder / "order.json"), int(read_object(folder / CONFIG).get("r", 0))
    if "model" not in earlier:
        raise UserError(f"{folder} does not say what base its adapter is for: name a folder finetune left")
    if spec.rank not in (None, rank):
        raise UserError(f"{folder} holds an adapter of rank {rank}, which stays: leave --rank out")
    base, _, _ = _foundation(replace(spec, model=str(earlier["model"]), rank=None))
    return base, folder, rank


def _base(model: str) -> Path:
    if model in ("", "embedded"):
        return default_model()
    path = Path(model)
    if not path.exists():
        raise UserError(f"there is no model {model}: name embedded, a GGUF file, or the folder of a model")
    return path


def _last_step(log: Path) -> dict[str, Any]:
    """Give the last whole line of a log, with the last validation loss before it."""
    last: dict[str, Any] = {}
    for step in read_log(log):
        last = {**step, "valid_loss": step["valid_loss"] or last.get("valid_loss")}
    return last


def _main(folder: Path) -> None:
    """Train what order.json says, and leave trained.json; end when the other process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the other process's to handle
    exit_with_parent()
    settings = read_object(folder / "order.json")
    settings.pop("key", None)
    spec = FineTuneSpec(**{**settings, "dataset": Path(settings["dataset"])})
    try:
        trained = train_from_spec(spec, folder)
        ended = {**asdict(trained), "folder": str(trained.folder), "model": _foundation(spec)[0].stem}
    except UserError as error:
        ended = {"error": str(error)}
    (folder / "trained.json").write_text(json.dumps(ended) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
