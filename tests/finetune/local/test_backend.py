"""The local backend with a tiny model: trained in a child process, interrupted and resumed."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml

from tests.tiny import save_tiny_model
from tools.raft.errors import UserError
from tools.raft.files import hash_file
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job
from tools.raft.finetune.local.backend import LocalBackend
from tools.raft.finetune.local.estimate import TrainingTime
from tools.raft.records import content_id

COLOURS = ("red", "green", "blue", "white", "black", "brown", "grey", "pink", "amber", "teal", "rose", "gold")


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    dataset = tmp_path / "dataset"
    dataset.mkdir()
    for split, names in (("train", COLOURS[:9]), ("valid", COLOURS[9:])):
        rows = [
            {
                "messages": [
                    {"role": "system", "content": "Answer from the documents."},
                    {
                        "role": "user",
                        "content": f"<DOCUMENT>The door is {name}.</DOCUMENT>\nWhich colour is {name}?",
                    },
                    {
                        "role": "assistant",
                        "content": f"##begin_quote##The door is {name}.##end_quote##\n<ANSWER>: {name}",
                    },
                ]
            }
            for name in names
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (dataset / f"{split}.chat.jsonl").write_text(lines, encoding="utf-8")
    return FineTuneSpec(
        dataset, str(save_tiny_model(tmp_path / "model")), epochs=30, learning_rate=0.01, batch_size=3
    )


def steps_of(folder: Path) -> list[int]:
    log = folder / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("}")]


def test_an_interrupted_training_resumes_and_leaves_an_adapter(spec: FineTuneSpec, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    first = LocalBackend(out)
    first.check(spec)
    job = first.submit(spec, lambda step: None)
    deadline = time.monotonic() + 120
    while len(steps_of(out)) < 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first._worker is not None and first._worker.stdin is not None
    first._worker.stdin.close()  # as if the parent process had ended
    first._worker.wait(30)
    done = len(steps_of(out))
    assert 12 <= done < 90

    seen: list[int | None] = []
    record = run_job(LocalBackend(out), spec, out, poll=0.1, on_status=lambda s: seen.append(s["step"]))
    assert record["state"] == "succeeded" and record["job"] == job
    trained = json.loads((out / "trained.json").read_text(encoding="utf-8"))
    assert steps_of(out) == list(range(1, trained["steps"] + 1)), "each step exactly once"
    assert trained["steps"] > done
    assert seen[0] is not None and seen[0] >= done - 3, "it resumed instead of starting over"
    assert (out / "adapter_model.safetensors").is_file()
    connection = yaml.safe_load((out / "connection.yaml").read_text(encoding="utf-8"))
    assert connection["base_url"] == "http://127.0.0.1:8082/v1"
    first_line = json.loads((out / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert trained["valid_loss"] < first_line["train_loss"] - 0.1

    started = time.monotonic()
    assert run_job(LocalBackend(out), spec, out)["state"] == "succeeded"
    assert time.monotonic() - started < 1, "a finished job is not trained again"


@pytest.mark.slow
def test_a_second_training_continues_from_the_first(spec: FineTuneSpec, tmp_path: Path) -> None:
    spec = replace(spec, epochs=15)
    first = run_job(LocalBackend(tmp_path / "first"), spec, tmp_path / "first", poll=0.1)
    again = replace(spec, model=str(tmp_path / "first"), epochs=1, learning_rate=0.001)
    second = run_job(LocalBackend(tmp_path / "second"), again, tmp_path / "second", poll=0.1)
    assert second["state"] == "succeeded" and second["result"]["model"] == first["result"]["model"]
    initial, continued = (
        json.loads((tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
        for name in ("first", "second")
    )
    assert continued["train_loss"] < initial["train_loss"] - 0.1, "it starts where the first ended"
    assert (tmp_path / "second" / "adapter_model.safetensors").is_file()
    third = replace(again, model=str(tmp_path / "second"))
    LocalBackend(tmp_path / "third").check(third)
    with pytest.raises(UserError, match="holds an adapter of rank 16, which cannot be changed: omit --rank"):
        LocalBackend(tmp_path / "third").check(replace(third, rank=8))
    key = again.key
    (tmp_path / "first" / "adapter_model.safetensors").write_bytes(b"another")
    assert again.key != key, "another first adapter makes another spec"
    (tmp_path / "second" / "order.json").unlink()
    with pytest.raises(UserError, match="does not name its adapter's base model"):
        LocalBackend(tmp_path / "third").check(third)


def test_cancels_a_training(spec: FineTuneSpec, tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "tuned")
    job = backend.submit(spec, lambda step: None)
    backend.cancel(job)
    assert backend.status(job)["state"] == "cancelled"
    assert backend._worker is not None and backend._worker.poll() is not None


def test_reports_a_missing_model_or_dataset_before_anything_starts(
    spec: FineTuneSpec, tmp_path: Path
) -> None:
    backend = LocalBackend(tmp_path / "tuned")
    with pytest.raises(UserError, match="there is no model gone"):
        backend.check(FineTuneSpec(spec.dataset, "gone"))
    (spec.dataset / "train.chat.jsonl").unlink()
    with pytest.raises(UserError, match=r"train\.chat\.jsonl is missing: run generate"):
        backend.check(spec)
    assert not (tmp_path / "tuned").exists()


def test_the_epochs_that_fit_are_decided_once(
    spec: FineTuneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, limited = tmp_path / "tuned", replace(spec, minutes=0.75)
    # Two steps an epoch; 45 s hold three of them, on a machine half as fast one.
    fast = TrainingTime(0.0, 0.0, [14.0] * 2, tokens=[100] * 2, rows=[6, 3], validations=1)
    monkeypatch.setattr("tools.raft.finetune.local.backend._measure_in_child", lambda spec: fast)
    first = LocalBackend(out)
    assert first.estimate(limited).epochs == 1.5
    job = first.submit(limited, lambda step: None)
    first.cancel(job)
    slow = replace(fast, steps=[28.0] * 2)
    monkeypatch.setattr("tools.raft.finetune.local.backend._measure_in_child", lambda spec: slow)
    assert LocalBackend(tmp_path / "other").estimate(limited).epochs == 0.5
    again = LocalBackend(out)
    assert again.find(limited) == job and again.estimate(limited).epochs == 1.5
    (out / "trained.json").unlink()  # as if the command had been killed
    record = run_job(again, limited, out, poll=0.1)
    assert record["state"] == "succeeded" and record["job"] == job
    assert steps_of(out) == [1, 2, 3]


def test_a_job_without_minutes_has_the_key_of_earlier_versions(spec: FineTuneSpec) -> None:
    first = ("model", "api", "epochs", "learning_rate", "batch_size", "rank", "seed", "suffix")
    settings = {"dataset": "", **{name: value for name, value in asdict(spec).items() if name in first}}
    hashes = [hash_file(spec.file(part)) for part in ("train", "valid")]
    assert spec.key == content_id(json.dumps(settings, sort_keys=True), *hashes)
    assert replace(spec, minutes=5).key != spec.key


def test_an_estimate_that_fails_is_one_clear_line(spec: FineTuneSpec, tmp_path: Path) -> None:
    (Path(spec.model) / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match="cannot be loaded|could not be tried"):
        LocalBackend(tmp_path / "tuned").estimate(spec)
    assert not (tmp_path / "tuned").exists()
