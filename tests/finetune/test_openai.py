"""Fine-tuning at OpenAI and Azure OpenAI, against a scripted service over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.scripted_finetuning import KEY, FineTuning, scripted_finetuning
from tools.raft.errors import UserError
from tools.raft.files import PROJECT
from tools.raft.finetune.backend import FineTuneSpec, Unreachable
from tools.raft.finetune.job import read_record, run_job
from tools.raft.finetune.openai import OpenAIBackend
from tools.raft.models.endpoint import Endpoint

ROOT = PROJECT
MODEL = "gpt-4o-mini"


def chat_row(number: int) -> dict[str, object]:
    answer = f"It says ##begin_quote##Pond {number} has newts.##end_quote##\n<ANSWER>: newts"
    return {
        "messages": [
            {
                "role": "user",
                "content": f"<DOCUMENT>Pond {number} has newts.</DOCUMENT>\nWhat has pond {number}?",
            },
            {"role": "assistant", "content": answer},
        ]
    }


def write(folder: Path, train: list[object], valid: list[object]) -> Path:
    folder.mkdir(exist_ok=True)
    for split, rows in (("train", train), ("valid", valid)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{split}.chat.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write(tmp_path / "data", [chat_row(n) for n in range(12)], [chat_row(n) for n in range(20, 23)])


@pytest.fixture
def spec(dataset: Path) -> FineTuneSpec:
    return FineTuneSpec(dataset=dataset, model=MODEL)


@pytest.fixture
def service():
    with scripted_finetuning() as service:
        yield service


def backend(service: FineTuning, log: Path | None = None, key: str = KEY) -> OpenAIBackend:
    kind = "azure_openai" if service.azure else "compatible"
    url = service.url.replace("/v1", "") if service.azure else service.url
    version = "2024-10-21" if service.azure else ""
    endpoint = Endpoint(url, MODEL, kind=kind, key=key, key_from="KEY", api_version=version)
    return OpenAIBackend(lambda: endpoint, log)


def run(
    service: FineTuning, dataset: Path, out: Path, *more: object, key: str = KEY
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(service, dataset, out, *more), cwd=ROOT, env=environment(key), capture_output=True,
                          text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip


def command(service: FineTuning, dataset: Path, out: Path, *more: object) -> list[str]:
    arguments = ("--dataset", dataset, "--backend", "openai", "--model", MODEL, "--out", out,
                 "--base-url", service.url, "--poll", 0.05, *more)  # fmt: skip
    return [sys.executable, "-m", "tools", "finetune", *map(str, arguments)]


def environment(key: str = KEY) -> dict[str, str]:
    return {**os.environ, "COLUMNS": "200", "RAFT_API_KEY": key}


def no_key_in(*texts: str, folder: Path) -> None:
    files = [path.read_text(encoding="utf-8") for path in folder.rglob("*.json*")]
    assert not [text for text in (*texts, *files) if KEY in text or KEY[:12] in text]


def test_a_job_is_submitted_followed_and_its_model_named(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    out, states = tmp_path / "out", []
    backend_, seen = backend(service, out), states.append
    record = run_job(backend_, spec, out, poll=0.01, on_status=lambda status: seen(status["state"]))
    assert list(dict.fromkeys(states)) == ["running", "succeeded"]
    assert record["result"]["model"] == "ft:gpt-4o-mini:acme:raft:9aB1"
    assert record["metrics"] == {"train_loss": 0.5, "valid_loss": 0.625}
    assert record["result"]["metrics"] == {"train_loss": 0.5, "full_valid_loss": 0.6}, (
        "of the last checkpoint"
    )
    assert [line["id"] for line in map(json.loads, (out / "events.jsonl").read_text().splitlines())] == [
        f"ftjob-1-{number}" for number in range(5)
    ], "each event once, in order, over several pages"
    assert record == read_record(out)
    no_key_in(folder=out)


def test_the_request_is_as_documented(service: FineTuning, dataset: Path) -> None:
    spec = FineTuneSpec(dataset=dataset, model=MODEL, epochs=2, learning_rate=0.5, batch_size=4)
    backend(service).submit(spec, print)
    assert service.bodies == [
        {
            "model": MODEL,
            "training_file": "file-1",
            "validation_file": "file-2",
            "suffix": "raft",
            "seed": 42,
            "metadata": {"raft_order": spec.key},
            "method": {
                "type": "supervised",
                "supervised": {
                    "hyperparameters": {"n_epochs": 2, "learning_rate_multiplier": 0.5, "batch_size": 4}
                },
            },
        }
    ]
    assert service.uploads["file-1"] == (dataset / "train.chat.jsonl").read_bytes()


def test_azure_openai_gets_the_fields_its_dated_api_has(spec: FineTuneSpec, tmp_path: Path) -> None:
    with scripted_finetuning(azure=True) as service:
        record = run_job(backend(service), spec, tmp_path, poll=0.01)
        assert service.bodies[0]["hyperparameters"] == {"n_epochs": 3}
        assert record["state"] == "succeeded"
        assert backend(service).find(spec) == "ftjob-1", "without metadata, by file and settings"
        assert backend(service).find(FineTuneSpec(dataset=spec.dataset, model=MODEL, epochs=1)) is None


def test_a_sweep_uploads_once_and_each_rate_has_its_job(service: FineTuning, dataset: Path) -> None:
    specs = [FineTuneSpec(dataset=dataset, model=MODEL, learning_rate=rate) for rate in (0.5, 1.0, 2.0)]
    jobs = [backend(service).submit(spec, print) for spec in specs]
    assert len(service.files) == 2 and len(set(jobs)) == 3
    assert [backend(service).find(spec) for spec in specs] == jobs


def test_a_failed_job_says_why_and_is_submitted_again_on_demand(spec: FineTuneSpec, tmp_path: Path) -> None:
    with scripted_finetuning(states=("validating_files", "failed"), error=f"row 3 is bad ({KEY})") as service:
        record = run_job(backend(service), spec, tmp_path, poll=0.01)
        assert (record["state"], record["message"]) == ("failed", "row 3 is bad ([key])")
        run_job(backend(service), spec, tmp_path, poll=0.01)
        assert len(service.jobs) == 2
        no_key_in(folder=tmp_path)


def test_a_cancelled_job_stays_cancelled(service: FineTuning, spec: FineTuneSpec, tmp_path: Path) -> None:
    run_job(backend(service), spec, tmp_path, wait=False)
    backend(service).cancel("ftjob-1")
    assert run_job(backend(service), spec, tmp_path, wait=False)["state"] == "cancelled"
    assert len(service.jobs) == 1


def test_a_lost_connection_is_waited_for_while_a_job_is_followed(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    def lose(status: object) -> None:
        service.faults["lost"] = 5 if service.requests["GET /fine_tuning/jobs/*"] == 1 else 0

    record = run_job(backend(service, tmp_path), spec, tmp_path, poll=0.01, on_status=lose)
    assert record["state"] == "succeeded" and len(service.jobs) == 1


def test_an_answer_lost_after_the_request_makes_no_second_job(
    service: FineTuning, spec: FineTuneSpec
) -> None:
    service.faults["dropped"] = 1
    assert backend(service).submit(spec, print) == "ftjob-1"
    assert len(service.jobs) == 1


def test_a_service_that_is_away_is_one_line(service: FineTuning, spec: FineTuneSpec) -> None:
    service.faults["lost"] = 100
    with pytest.raises(Unreachable, match="run the same command again"):
        backend(service).find(spec)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda rows: rows[:9], r"train.chat.jsonl: error: 9 rows; OpenAI and Azure OpenAI take 10"),
        (
            lambda rows: [*rows[:4], {"messages": [{"content": "x"}, *rows[4]["messages"][1:]]}, *rows[5:]],
            r"train.chat.jsonl:5: error: a message has the keys",
        ),
        (
            lambda rows: [*rows[:4], {"messages": rows[4]["messages"][:1]}, *rows[5:]],
            r"train.chat.jsonl:5: error: roles must be",
        ),
        (
            lambda rows: [*rows[:6], {"messages": [{"role": "user", "content": "word " * 70_000}, rows[6]["messages"][1]]}, *rows[7:]],
            r"train.chat.jsonl:7: error: longer than the model's context",
        ),
        (lambda rows: [*rows, chat_row(20)], r"valid.chat.jsonl:1: error: the same prompt again: as in train.chat.jsonl:13"),
    ],
    ids=["too few rows", "a missing role", "no answer", "over the context", "leakage"],
)  # fmt: skip
def test_a_wrong_dataset_is_refused_before_anything_is_sent(service, dataset, tmp_path, spoil, said) -> None:
    write(dataset, spoil([chat_row(n) for n in range(12)]), [chat_row(20)])
    with pytest.raises(UserError, match=said):
        backend(service).check(FineTuneSpec(dataset=dataset, model=MODEL))
    assert not service.requests


@pytest.mark.parametrize(
    ("change", "said"),
    [({"epochs": 2.5}, "whole epochs"), ({"learning_rate": 1e-5}, "multiplier"), ({"api": "completion"}, "--format completion")],
)  # fmt: skip
def test_settings_that_the_service_would_misread_are_refused(service, dataset, change, said) -> None:
    with pytest.raises(UserError, match=said):
        backend(service).check(FineTuneSpec(dataset=dataset, model=MODEL, **change))


def test_the_estimate_names_tokens_price_and_its_source(service: FineTuning, spec: FineTuneSpec) -> None:
    tokens, dollars, basis = backend(service).estimate(spec)
    assert tokens > 12 * 30 and dollars == pytest.approx(tokens * 3 / 1e6)
    assert "$3 per million" in basis
    assert (
        backend(service).estimate(FineTuneSpec(dataset=spec.dataset, model="somebody/model")).dollars is None
    )


def test_the_verb_spends_nothing_without_a_yes(service: FineTuning, dataset: Path, tmp_path: Path) -> None:
    out, rates = tmp_path / "out", ("--learning-rate", 0.5, "--learning-rate", 2)
    done = run(service, dataset, out, *rates)
    assert (done.returncode, service.requests.total()) == (1, 0)
    assert (
        done.stderr
        == "error: this costs money, and nobody is there to say yes: look at --dry-run, then add --yes\n"
    )
    done = run(service, dataset, out, *rates, "--dry-run")
    assert (done.returncode, service.requests.total()) == (0, 0) and not out.exists()
    assert done.stdout.count("tokens trained, less than $0.01") == 2


def test_a_missing_key_is_told_before_a_yes_is_asked_for(dataset: Path, tmp_path: Path) -> None:
    known = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
    arguments = [
        "finetune",
        "--dataset",
        dataset,
        "--backend",
        "openai",
        "--model",
        MODEL,
        "--out",
        tmp_path / "out",
    ]
    asked = subprocess.run([sys.executable, "-m", "tools", *map(str, arguments)], cwd=ROOT, env=known, input="y\n",
                           capture_output=True, text=True, timeout=120)  # fmt: skip
    assert asked.returncode == 1
    assert "OPENAI_API_KEY" in asked.stderr
    assert "Traceback" not in asked.stderr
    assert "?" not in asked.stdout


def test_the_verb_runs_a_sweep_to_its_models_and_curves(
    service: FineTuning, dataset: Path, tmp_path: Path
) -> None:
    out, rates = tmp_path / "out", ("--learning-rate", 0.5, "--learning-rate", 2)
    done = run(service, dataset, out, *rates, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(
        f"ask it with --connection {service.url}:ft:gpt-4o-mini:acme:raft:9aB2"
    )
    assert (out / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert {read_record(out / f"lr-{rate}")["state"] for rate in ("0.5", "2")} == {"succeeded"}
    done = run(service, dataset, out, *rates)
    assert done.returncode == 0 and len(service.jobs) == 2, (
        "what has succeeded is neither asked about nor paid again"
    )
    no_key_in(done.stdout, done.stderr, folder=out)


@pytest.mark.parametrize(
    ("faults", "said"),
    [({"quota": 1}, "has no paid quota left"), ({"expired": 9}, "check RAFT_API_KEY")],
)
def test_the_verb_refused_ends_in_one_line_and_goes_on_later(
    service, dataset, tmp_path, faults, said
) -> None:
    service.faults.update(faults)
    done = run(service, dataset, tmp_path / "out", "--yes")
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
    assert (read_record(tmp_path / "out") or {"job": ""})["job"] == "" and not service.jobs
    no_key_in(done.stdout, done.stderr, folder=tmp_path / "out")
    service.faults.clear()
    assert run(service, dataset, tmp_path / "out", "--yes").returncode == 0 and len(service.jobs) == 1


def test_the_verb_killed_between_request_and_record_submits_nothing_twice(service, dataset, tmp_path) -> None:
    service.faults["mute"] = 1
    process = subprocess.Popen(command(service, dataset, tmp_path / "out", "--yes"), cwd=ROOT, env=environment(),
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(lambda: service.jobs)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    record = read_record(tmp_path / "out")
    assert (record["state"], record["job"]) == ("submitting", "")
    done = run(service, dataset, tmp_path / "out", "--yes")
    assert done.returncode == 0, done.stderr
    assert len(service.jobs) == 1 and len(service.files) == 2
    assert read_record(tmp_path / "out")["job"] == "ftjob-1"


def test_ctrl_c_stops_the_waiting_and_cancel_stops_the_job(dataset: Path, tmp_path: Path) -> None:
    with scripted_finetuning(states=("queued", "running")) as service:
        process = subprocess.Popen(command(service, dataset, tmp_path / "out", "--yes"), cwd=ROOT, env=environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
        wait_for(lambda: service.jobs and service.requests["GET /fine_tuning/jobs/*"] > 3)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=30)[1]
        assert process.returncode == 130 and "the jobs go on: run the same command again" in told
        assert service.jobs["ftjob-1"]["states"] == ["running"]
        done = run(service, dataset, tmp_path / "out", "--cancel")
        assert done.returncode == 0 and "Job ftjob-1: cancelled" in done.stdout, done.stderr
        assert read_record(tmp_path / "out")["state"] == "cancelled" and len(service.jobs) == 1


def wait_for(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("never came")
