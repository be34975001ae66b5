"""TRL on a tiny model: trained by its own script, interrupted, resumed, and what is refused before it starts."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import save_tiny_model
from tools.raft.errors import UserError
from tools.raft.files import read_log
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job
from tools.raft.finetune.trl.backend import TrlBackend, find_base, last_checkpoint

needs_trl = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None, reason="requirements-trl.txt is not installed"
)
COLOURS = ("red", "green", "blue", "white", "black", "brown", "grey", "pink", "amber", "teal", "rose", "gold")


def chat(colour: str) -> dict:
    return {
        "messages": [
            {"role": "system", "content": "Answer from the documents."},
            {"role": "user", "content": f"<DOCUMENT>The door is {colour}.</DOCUMENT>\nWhich colour?"},
            {"role": "assistant", "content": f"##begin_quote##The door is {colour}.##end_quote##\n<ANSWER>: {colour}"},
        ]
    }  # fmt: skip


def write_rows(dataset: Path, train: Sequence[str], valid: Sequence[str]) -> Path:
    """Write a dataset with a row for each colour; return its folder."""
    dataset.mkdir()
    for split, colours in (("train", train), ("valid", valid)):
        lines = "".join(json.dumps(chat(colour)) + "\n" for colour in colours)
        (dataset / f"{split}.chat.jsonl").write_text(lines, encoding="utf-8")
    return dataset


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    dataset = write_rows(tmp_path / "dataset", COLOURS[:9], COLOURS[9:])
    model = save_tiny_model(tmp_path / "model")
    return FineTuneSpec(dataset, str(model), epochs=10, learning_rate=0.01, batch_size=3)


def wait_for(condition, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def settled_steps(log: Path) -> list[int]:
    """Return the steps of a log once it has not grown for three seconds."""
    steps: list[int] = []
    while True:
        before, steps = steps, [line["step"] for line in read_log(log)]
        if steps and steps == before:
            return steps
        time.sleep(3)


@needs_trl
@pytest.mark.slow
def test_a_killed_training_resumes_from_trl_s_checkpoint(spec: FineTuneSpec, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    script = (
        "import sys; from pathlib import Path; from tools.raft.finetune.backend import FineTuneSpec;"
        "from tools.raft.finetune.job import run_job; from tools.raft.finetune.trl.backend import TrlBackend;"
        "data, model, out = map(Path, sys.argv[1:]);"
        "spec = FineTuneSpec(data, str(model), epochs=10, learning_rate=0.01, batch_size=3);"
        "run_job(TrlBackend(out), spec, out, poll=0.1)"
    )
    parent = subprocess.Popen([sys.executable, "-c", script, spec.dataset, spec.model, out])
    wait_for(lambda: (last := last_checkpoint(out)) is not None and int(last.name[11:]) >= 5)
    parent.kill()
    parent.wait()
    steps = settled_steps(out / "log.jsonl")
    assert steps[-1] < 30 and not (out / "trained.json").exists(), "it ends with its parent"

    seen: list[int | None] = []
    record = run_job(TrlBackend(out), spec, out, poll=0.1, on_status=lambda s: seen.append(s["step"]))
    assert record["state"] == "succeeded"
    lines = read_log(out / "log.jsonl")
    trained = [line["step"] for line in lines if line["valid_loss"] is None]
    assert trained == list(range(1, 31)), "each step once"
    assert lines[-1]["tokens"] > lines[0]["tokens"] > 0 and lines[-1]["valid_loss"] < lines[0]["train_loss"]
    assert {"adapter_model.safetensors", "adapter_config.json", "adapter.gguf"} <= set(
        record["result"]["files"]
    )
    assert record["result"]["metrics"]["valid_loss"] == pytest.approx(
        min(line["valid_loss"] for line in lines if line["valid_loss"]), abs=1e-4
    )
    started = time.monotonic()
    assert run_job(TrlBackend(out), spec, out)["state"] == "succeeded"
    assert time.monotonic() - started < 1, "a finished job is not trained again"


@needs_trl
@pytest.mark.slow
def test_trl_learns_the_reply_only(spec: FineTuneSpec, tmp_path: Path) -> None:
    """The tiny model's chat template has no generation markers, as those of most models."""
    backend = TrlBackend(tmp_path / "tuned")
    backend.cancel(backend.submit(spec, lambda step: None))
    script = """
import sys
from datasets import load_dataset
from trl import SFTTrainer
from trl.scripts.sft import make_parser
script, training, model, _ = make_parser().parse_args_and_config(["--config", sys.argv[1]])
data = load_dataset(script.dataset_name, cache_dir=training.output_dir + "/.cache")
trainer = SFTTrainer(model.model_name_or_path, training, train_dataset=data["train"], eval_dataset=data["validation"])
row = trainer.train_dataset[0]
learnt = [token for token, label in zip(row["input_ids"], row["labels"]) if label != -100]
print(repr(trainer.processing_class.decode(learnt)))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "tuned" / "trl.yaml"], capture_output=True, text=True
    )
    reply = chat("red")["messages"][-1]["content"]
    expected = re.sub(r"\s", "<unk>", f"{reply}</s>\n")  # the tiny tokenizer has no white space
    assert done.stdout.splitlines()[-1:] == [repr(expected)], done.stderr[-2000:]


@needs_trl
@pytest.mark.slow
def test_a_failed_training_says_why_and_a_cancelled_one_stops(spec: FineTuneSpec, tmp_path: Path) -> None:
    wrong = replace(spec, overrides=("no_such_setting=1",))
    record = run_job(TrlBackend(tmp_path / "a"), wrong, tmp_path / "a", poll=0.1)
    assert record["state"] == "failed"
    assert "no_such_setting" in record["message"] and "\n" not in record["message"]

    backend = TrlBackend(tmp_path / "b")
    job = backend.submit(spec, lambda step: None)
    backend.cancel(job)
    assert backend.status(job)["state"] == "cancelled"
    time.sleep(3)
    assert not (tmp_path / "b" / "log.jsonl").exists()


@needs_trl
def test_a_row_longer_than_the_context_is_named_before_anything_starts(
    spec: FineTuneSpec, tmp_path: Path
) -> None:
    train = spec.dataset / "train.chat.jsonl"
    rows = [chat(colour) for colour in COLOURS[:9]]
    rows[4]["messages"][1]["content"] += " door" * 3000
    rows[7]["messages"][1]["content"] += " door" * 3000
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    backend = TrlBackend(tmp_path / "tuned")
    with pytest.raises(
        UserError, match=r"2 of 12 rows .* 2,048 tokens .*train\.chat\.jsonl, line 5 has 15,\d{3}"
    ):
        backend.check(spec)
    assert [row.line for row in backend.check(spec, skip_long=True).long] == [5, 8]
    assert not (tmp_path / "tuned").exists()


def test_missing_packages_are_named(spec: FineTuneSpec, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "datasets" else object())
    with pytest.raises(UserError, match=r"needs datasets; run: pip install -r requirements-trl.txt"):
        TrlBackend(tmp_path).check(spec)


def test_a_model_that_cannot_be_the_base_is_refused(tmp_path: Path) -> None:
    assert find_base("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    with pytest.raises(UserError, match="there is no model gone"):
        find_base("gone")
    with pytest.raises(UserError, match="there is no model gone/model.gguf"):
        find_base("gone/model.gguf")
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="starts from a base model only"):
        find_base(str(tmp_path))
