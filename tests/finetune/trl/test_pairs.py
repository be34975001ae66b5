"""DPO with TRL on the tiny model: trained for real from the files of `--format dpo`, and on from an adapter."""

from __future__ import annotations

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.test_pairs import make_records, write_folder
from tests.tiny import save_tiny_model
from tools.raft.dataset.export import write_datasets
from tools.raft.errors import UserError
from tools.raft.files import read_jsonl, read_log, read_object
from tools.raft.finetune.azure.backend import AzureMLBackend
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job
from tools.raft.finetune.local.backend import LocalBackend
from tools.raft.finetune.trl.backend import TrlBackend, last_checkpoint, measure_rows
from tools.raft.finetune.trl.start import base_of

needs_trl = pytest.mark.skipif(
    importlib.util.find_spec("trl") is None, reason="requirements-trl.txt is not installed"
)


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    kinds = [["no tag"], ["no tag"], ["no quote"]] * 3  # the second of three is for validation
    records, rejected = make_records(kinds, 1.0, "keep", 1)
    for record in records:
        record["split"] = "valid" if record["split"] == "valid" else "train"
    dataset = tmp_path / "dataset"
    raft = write_folder(dataset, records, rejected)
    write_datasets(raft, dataset, formats=["chat", "dpo"])
    for path in dataset.glob("*.jsonl"):  # the distractors of this corpus are not split
        if path.name.count(".") < 2:
            path.unlink()
    model = save_tiny_model(tmp_path / "model")
    return FineTuneSpec(
        dataset, str(model), method="dpo", beta=0.1, epochs=3, learning_rate=0.01, batch_size=3
    )


def log_probabilities(model: Any, tokenizer: Any, path: Path) -> list[tuple[float, float]]:
    """Compute what a model gives each preferred and each other answer, by code that is not TRL's."""
    import torch

    results = []
    for _, row in read_jsonl(path):
        prompt = tokenizer.apply_chat_template(
            row["input"]["messages"], add_generation_prompt=True, tokenize=False
        )
        pair = []
        for name in ("preferred_output", "non_preferred_output"):
            messages = [*row["input"]["messages"], *row[name]]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
            start = len(tokenizer(prompt, add_special_tokens=False).input_ids)
            with torch.no_grad():
                logits = model(tokens).logits[0, start - 1 : -1].log_softmax(-1)
            pair.append(float(logits.gather(1, tokens[0, start:, None]).sum()))
        results.append((pair[0], pair[1]))
    return results


@needs_trl
@pytest.mark.slow
def test_trl_learns_to_prefer_and_goes_on_from_an_adapter(spec: FineTuneSpec, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out, on = tmp_path / "tuned", tmp_path / "on"
    record = run_job(TrlBackend(out), spec, out, poll=0.1)
    assert record["state"] == "succeeded", record["message"]
    assert {"adapter_model.safetensors", "adapter_config.json", "adapter.gguf"} <= set(
        record["result"]["files"]
    )
    log = read_log(out / "log.jsonl")
    steps = [line for line in log if line["valid_loss"] is None]
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-4), "the reference is the model itself"
    assert steps[-1]["margin"] > 0.1 and log[-1]["valid_margin"] > 0.01
    assert log[-1]["valid_loss"] < 0.6931, "ln 2 is the loss without any preference"
    assert record["metrics"]["margin"] == steps[-1]["margin"]

    # What TRL says is checked with the adapter it wrote, that of the best validation.
    tokenizer = AutoTokenizer.from_pretrained(spec.model)

    def valid_log_probabilities(adapter: Path | None) -> list[tuple[float, float]]:
        model: Any = AutoModelForCausalLM.from_pretrained(spec.model)
        model = PeftModel.from_pretrained(model, adapter) if adapter else model
        return log_probabilities(model, tokenizer, spec.file("valid"))

    def margin(adapter: Path, reference: Path | None) -> float:
        now, before = valid_log_probabilities(adapter), valid_log_probabilities(reference)
        grown = [(a - c) - (b - d) for (a, b), (c, d) in zip(now, before, strict=True)]
        return 0.1 * sum(grown) / len(grown)

    def best_margin(folder: Path) -> float:
        validated = [line for line in read_log(folder / "log.jsonl") if line["valid_loss"] is not None]
        return min(validated, key=lambda line: line["valid_loss"])["valid_margin"]

    assert margin(out, None) == pytest.approx(best_margin(out), rel=0.02) and best_margin(out) > 0.01

    # An earlier training's folder: its adapter goes on, and its state at the start is the reference.
    backend = TrlBackend(on)
    further = replace(spec, model=str(out), epochs=2)
    backend.check(further)
    record = run_job(backend, further, on, poll=0.1)
    assert record["state"] == "succeeded", record["message"]
    steps = [line for line in read_log(on / "log.jsonl") if line["valid_loss"] is None]
    assert steps[0]["margin"] == pytest.approx(0, abs=1e-4) and steps[-1]["margin"] > 0.01
    assert margin(on, out) == pytest.approx(best_margin(on), rel=0.02) and best_margin(on) > 0.01
    assert read_object(on / "adapter_config.json")["r"] == 16 and (on / "adapter.gguf").exists()
    assert not (on / "ref").exists(), "only the tuned adapter is left"

    # Killed after its last checkpoint but one, it goes on from there, with the same reference.
    last = last_checkpoint(on)
    assert last
    shutil.rmtree(last)
    for name in ("trained.json", "job.json"):
        (on / name).unlink()
    resumed = last_checkpoint(on)
    assert resumed and (resumed / "ref").is_dir()
    before = len(read_log(on / "log.jsonl"))
    record = run_job(TrlBackend(on), further, on, poll=0.1)
    assert record["state"] == "succeeded", record["message"]
    assert len(read_log(on / "log.jsonl")) == before, "no step twice in the log"
    assert margin(on, out) == pytest.approx(best_margin(on), rel=0.02)


@needs_trl
def test_an_adapter_s_base_is_found_and_its_rank_kept(spec: FineTuneSpec, tmp_path: Path) -> None:
    earlier, tuned = tmp_path / "earlier", tmp_path / "earlier tuned"
    for folder, base in ((earlier, spec.model), (tuned, str(earlier))):
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"r": 8, "base_model_name_or_path": base}))
        (folder / "order.json").write_text(json.dumps({"model": base}))
    assert base_of(tuned) == spec.model
    assert measure_rows(replace(spec, model=str(tuned))).rows == 9
    with pytest.raises(UserError, match="adapter of rank 8, which cannot be changed: omit --rank"):
        TrlBackend(tmp_path / "out").check(replace(spec, model=str(tuned), rank=16))
    (earlier / "order.json").unlink()
    assert base_of(earlier) == spec.model, "PEFT's own record"
    (earlier / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match="does not name its adapter's base model"):
        base_of(earlier)


@needs_trl
def test_the_longer_answer_of_a_pair_counts(spec: FineTuneSpec) -> None:
    rows = [row for _, row in read_jsonl(spec.file("train"))]
    before = measure_rows(spec).longest
    rows[0]["non_preferred_output"][0]["content"] += " and so on" * 50
    spec.file("train").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    longest = measure_rows(spec).longest
    assert before and longest and longest.line == 1 and longest.tokens > before.tokens + 400


def test_who_trains_on_single_answers_refuses_pairs_in_a_line(spec: FineTuneSpec, tmp_path: Path) -> None:
    azure = replace(spec, model="azureml-meta/Llama-3.3-70B-Instruct:9")
    for backend, asked in ((LocalBackend(tmp_path / "out"), spec), (AzureMLBackend(), azure)):
        with pytest.raises(
            UserError, match=f"--backend {backend.name} does not train on pairs: use --method dpo"
        ):
            backend.check(asked)
    with pytest.raises(UserError, match="trains on chats: leave out --format dsf"):
        replace(spec, api="dsf")
    with pytest.raises(UserError, match="--beta is for --method dpo"):
        replace(spec, method="sft")


def test_a_job_on_pairs_is_another_job(spec: FineTuneSpec) -> None:
    keys = {spec.key, replace(spec, beta=0.2).key, replace(spec, method="sft", beta=None).key}
    assert len(keys) == 3
