"""The local backend with a tiny model: trained in a process of its own, interrupted, taken up again."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.tiny import Words, save_tiny_model
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job
from tools.raft.finetune.local.backend import PARTS, LocalBackend, make_packs, to_example

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


def test_an_interrupted_training_goes_on_and_ends_with_an_adapter(spec: FineTuneSpec, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    first = LocalBackend(out)
    first.check(spec)
    job = first.submit(spec, lambda step: None)
    deadline = time.monotonic() + 120
    while len(steps_of(out)) < 12 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert first._worker is not None and first._worker.stdin is not None
    first._worker.stdin.close()  # as when the process that wanted it ends
    first._worker.wait(30)
    done = len(steps_of(out))
    assert 12 <= done < 90

    looks: list[int | None] = []
    record = run_job(LocalBackend(out), spec, out, poll=0.1, on_status=lambda s: looks.append(s["step"]))
    assert record["state"] == "succeeded" and record["job"] == job
    trained = json.loads((out / "trained.json").read_text(encoding="utf-8"))
    assert steps_of(out) == list(range(1, trained["steps"] + 1)), "each step once, none twice"
    assert trained["steps"] > done
    assert looks[0] is not None and looks[0] >= done - 3, "it went on, it did not begin anew"
    assert (out / "adapter_model.safetensors").is_file()
    connection = yaml.safe_load((out / "connection.yaml").read_text(encoding="utf-8"))
    assert connection["base_url"] == "http://127.0.0.1:8082/v1"
    first_line = json.loads((out / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert trained["valid_loss"] < first_line["train_loss"] - 0.1

    begun = time.monotonic()
    assert run_job(LocalBackend(out), spec, out)["state"] == "succeeded"
    assert time.monotonic() - begun < 1, "what is done is not trained again"


def test_a_second_training_goes_on_from_the_first(spec: FineTuneSpec, tmp_path: Path) -> None:
    first = run_job(LocalBackend(tmp_path / "first"), spec, tmp_path / "first", poll=0.1)
    again = replace(spec, model=str(tmp_path / "first"), epochs=1, learning_rate=0.001)
    second = run_job(LocalBackend(tmp_path / "second"), again, tmp_path / "second", poll=0.1)
    assert second["state"] == "succeeded" and second["result"]["model"] == first["result"]["model"]
    new, further = (
        json.loads((tmp_path / name / "log.jsonl").read_text(encoding="utf-8").splitlines()[0])
        for name in ("first", "second")
    )
    assert further["train_loss"] < new["train_loss"] - 0.1, "it begins where the first ended"
    assert (tmp_path / "second" / "adapter_model.safetensors").is_file()
    third = replace(again, model=str(tmp_path / "second"))
    LocalBackend(tmp_path / "third").check(third)
    with pytest.raises(UserError, match="holds an adapter of rank 16, which stays: leave --rank out"):
        LocalBackend(tmp_path / "third").check(replace(third, rank=8))
    key = again.key
    (tmp_path / "first" / "adapter_model.safetensors").write_bytes(b"another")
    assert again.key != key, "trained anew, the first makes another second"
    (tmp_path / "second" / "order.json").unlink()
    with pytest.raises(UserError, match="does not say what base its adapter is for"):
        LocalBackend(tmp_path / "third").check(third)


def test_a_row_that_is_too_long_is_named(spec: FineTuneSpec, tmp_path: Path) -> None:
    train = spec.dataset / "train.chat.jsonl"
    rows = [json.loads(line) for line in train.read_text(encoding="utf-8").splitlines()]
    rows[4]["messages"][1]["content"] += " door" * 3000
    train.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    record = run_job(LocalBackend(tmp_path / "tuned"), spec, tmp_path / "tuned", poll=0.1)
    assert record["state"] == "failed"
    assert re.search(
        r"train\.chat\.jsonl, line 5 has 15,\d{3} tokens, 2,048 fit: .*smaller --chunk-size",
        record["message"],
    )


def test_a_cancelled_training_says_so(spec: FineTuneSpec, tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "tuned")
    job = backend.submit(spec, lambda step: None)
    backend.cancel(job)
    assert backend.status(job)["state"] == "cancelled"
    assert backend._worker is not None and backend._worker.poll() is not None


def test_what_is_not_there_is_said_before_anything_starts(spec: FineTuneSpec, tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path / "tuned")
    with pytest.raises(UserError, match="there is no model gone"):
        backend.check(FineTuneSpec(spec.dataset, "gone"))
    (spec.dataset / "train.chat.jsonl").unlink()
    with pytest.raises(UserError, match=r"train\.chat\.jsonl is missing: run generate"):
        backend.check(spec)
    assert not (tmp_path / "tuned").exists()


def test_a_quote_weighs_less_once_it_is_chosen() -> None:
    quote = "The gap between the bars of the gate is 15 centimetres."
    row = {"prompt": "Q?", "completion": f"##begin_quote##{quote}##end_quote##\n<ANSWER>: 15"}
    words = Words()
    example = to_example(row, words)
    assert 1.0 in example.weights and 0.3 in example.weights
    assert example.weights[-1] == 1.0, "the answer and the end of the turn count in full"
    drill = to_example(row, words, drill=True)
    quoted = words(row["completion"].partition("\n")[0]).input_ids
    assert drill.prompt == example.prompt and drill.reply == quoted, "what a rule answers is not learnt"


def test_drills_are_learnt_with_the_rows_of_train(spec: FineTuneSpec) -> None:
    backend = LocalBackend(spec.dataset)
    plain, key, tokens = list(make_packs(spec, PARTS, Words(), 4)), spec.key, backend.estimate(spec).tokens
    train, drills = (spec.dataset / f"{part}.chat.jsonl" for part in PARTS)
    row = train.read_text(encoding="utf-8").splitlines()[0].replace("Which colour", "What colour")
    drills.write_text(row + "\n", encoding="utf-8")
    more = list(make_packs(spec, PARTS, Words(), 4))
    assert sum(pack.examples for pack in more) == sum(pack.examples for pack in plain) + 1
    assert spec.key != key, "another training"
    assert backend.estimate(spec).tokens > tokens
