"""Fine-tuning at OpenAI, against a scripted service over HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from codecs import BOM_UTF8
from dataclasses import replace
from pathlib import Path

import pytest

from tests.finetune.jobs import (
    MODEL,
    ROOT,
    assert_no_key,
    chat_row,
    command,
    environment,
    make_backend,
    run,
    wait_for,
    write_dataset,
)
from tests.models.test_client import recorder
from tests.scripted_finetuning import KEY, FineTuning, scripted_finetuning
from tools.raft.errors import UserError
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import read_record, run_job
from tools.raft.finetune.openai import OpenAIBackend
from tools.raft.models.endpoint import Endpoint
from tools.raft.models.service import Unreachable


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(
        tmp_path / "data", [chat_row(n) for n in range(12)], [chat_row(n) for n in range(20, 23)]
    )


@pytest.fixture
def spec(dataset: Path) -> FineTuneSpec:
    return FineTuneSpec(dataset=dataset, model=MODEL)


@pytest.fixture
def service():
    with scripted_finetuning() as service:
        yield service


def test_a_byte_order_mark_is_neither_counted_nor_sent(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    backend = make_backend(service)
    tokens = backend.estimate(spec).tokens
    for path in spec.dataset.glob("*.chat.jsonl"):
        path.write_bytes(BOM_UTF8 + path.read_bytes())
    backend.check(spec)
    assert backend.estimate(spec).tokens == tokens
    backend.submit(spec, print)
    assert len(service.uploads) == 2
    assert all(content.startswith(b'{"messages"') for content in service.uploads.values())


def test_submits_and_follows_a_job_and_names_its_model(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    out, states = tmp_path / "out", []
    backend = make_backend(service, out)
    record = run_job(backend, spec, out, poll=0.01, on_status=lambda status: states.append(status["state"]))
    assert list(dict.fromkeys(states)) == ["running", "succeeded"]
    assert record["result"]["model"] == "ft:gpt-4o-mini:acme:raft:9aB1"
    assert record["metrics"] == {"train_loss": 0.5, "valid_loss": 0.625}
    assert record["result"]["metrics"] == {"train_loss": 0.5, "full_valid_loss": 0.6}, (
        "of the last checkpoint"
    )
    assert [line["id"] for line in map(json.loads, (out / "events.jsonl").read_text().splitlines())] == [
        f"ftjob-1-{number}" for number in range(5)
    ], "each event once, in order, across several pages"
    assert record == read_record(out)
    assert_no_key(folder=out)


def test_sends_the_documented_request(service: FineTuning, dataset: Path) -> None:
    spec = FineTuneSpec(dataset=dataset, model=MODEL, epochs=2, learning_rate=0.5, batch_size=4)
    make_backend(service).submit(spec, print)
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


def preference_row(number: int) -> dict[str, object]:
    messages = chat_row(number)["messages"]
    other = {"role": "assistant", "content": "I know that.\n<ANSWER>: newts"}
    return {
        "input": {"messages": messages[:-1]},  # type: ignore[index]
        "preferred_output": messages[-1:],  # type: ignore[index]
        "non_preferred_output": [other],
    }


@pytest.fixture
def pairs(dataset: Path) -> FineTuneSpec:
    for split, numbers in (("train", range(12)), ("valid", range(20, 23))):
        lines = "".join(json.dumps(preference_row(n)) + "\n" for n in numbers)
        (dataset / f"{split}.dpo.jsonl").write_text(lines, encoding="utf-8")
    return FineTuneSpec(dataset, "gpt-4.1-mini", method="dpo", beta=0.2, epochs=2)


def test_a_job_on_pairs_has_the_documented_method(
    service: FineTuning, pairs: FineTuneSpec, dataset: Path, tmp_path: Path
) -> None:
    """The scripted service checks the hyper-parameters and the file against the SDK's types."""
    out = tmp_path / "out"
    done = run(service, dataset, out, "--method", "dpo", "--beta", 0.2, "--epochs", 2, "--yes")
    assert done.returncode == 0, done.stderr
    (body,) = service.bodies
    assert body["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.2}}}
    assert {name.rpartition("/")[2].partition(".")[2] for name in (f["filename"] for f in service.files.values())} == {
        "train.dpo.jsonl", "valid.dpo.jsonl",
    }  # fmt: skip
    assert (
        run(service, dataset, out, "--method", "dpo", "--beta", 0.2, "--epochs", 2, "--yes").returncode == 0
    )
    assert len(service.bodies) == 1, "nothing is submitted twice"


def test_a_lost_job_on_pairs_is_found_by_a_service_without_metadata(
    service: FineTuning, pairs: FineTuneSpec
) -> None:
    backend = make_backend(service)
    service.faults["dropped"] = 1
    job = backend.submit(pairs, print)
    for each in service.jobs.values():
        del each["body"]["metadata"]
    assert backend.find(pairs) == job and len(service.jobs) == 1
    assert backend.find(replace(pairs, beta=0.3)) is None


def test_too_few_pairs_are_refused_and_do_not_hinder_a_training_on_chats(
    service: FineTuning, spec: FineTuneSpec, pairs: FineTuneSpec
) -> None:
    train = pairs.file("train")
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:9]), encoding="utf-8")
    with pytest.raises(UserError, match=r"train.dpo.jsonl: 9 pairs, and 10 are needed; .*--no-oracle refuse"):
        make_backend(service).check(pairs)
    make_backend(service).check(spec)
    train.unlink()
    with pytest.raises(UserError, match="train.dpo.jsonl is missing: run generate with --format dpo"):
        make_backend(service).check(pairs)


def test_pairs_are_not_sent_where_they_would_be_taken_for_chats(pairs: FineTuneSpec) -> None:
    with scripted_finetuning(azure="dated") as azure:
        with pytest.raises(UserError, match="needs Azure's v1 API: add --training-type"):
            make_backend(azure).check_life(pairs)
        assert not azure.requests


def test_the_estimate_of_a_pair_is_that_of_two_rows(
    service: FineTuning, pairs: FineTuneSpec, spec: FineTuneSpec
) -> None:
    one, two = (
        make_backend(service).estimate(each)
        for each in (replace(spec, epochs=2), replace(pairs, model=MODEL))
    )
    assert 1.5 * one.tokens < two.tokens < 2.1 * one.tokens
    assert "a pair is counted as two rows" in two.basis


def test_a_sweep_uploads_once_and_submits_one_job_per_rate(service: FineTuning, dataset: Path) -> None:
    specs = [FineTuneSpec(dataset=dataset, model=MODEL, learning_rate=rate) for rate in (0.5, 1.0, 2.0)]
    jobs = [make_backend(service).submit(spec, print) for spec in specs]
    assert len(service.files) == 2 and len(set(jobs)) == 3
    assert [make_backend(service).find(spec) for spec in specs] == jobs


def test_a_failed_job_reports_its_error_and_is_resubmitted_on_demand(
    spec: FineTuneSpec, tmp_path: Path
) -> None:
    with scripted_finetuning(states=("validating_files", "failed"), error=f"row 3 is bad ({KEY})") as service:
        record = run_job(make_backend(service), spec, tmp_path, poll=0.01)
        assert (record["state"], record["message"]) == ("failed", "row 3 is bad ([key])")
        run_job(make_backend(service), spec, tmp_path, poll=0.01)
        assert len(service.jobs) == 2
        assert_no_key(folder=tmp_path)


def test_a_cancelled_job_stays_cancelled(service: FineTuning, spec: FineTuneSpec, tmp_path: Path) -> None:
    run_job(make_backend(service), spec, tmp_path, wait=False)
    make_backend(service).cancel("ftjob-1")
    assert run_job(make_backend(service), spec, tmp_path, wait=False)["state"] == "cancelled"
    assert len(service.jobs) == 1


def test_follows_a_job_across_a_lost_connection(
    service: FineTuning, spec: FineTuneSpec, tmp_path: Path
) -> None:
    def lose(status: object) -> None:
        service.faults["lost"] = 5 if service.requests["GET /fine_tuning/jobs/*"] == 1 else 0

    record = run_job(make_backend(service, tmp_path), spec, tmp_path, poll=0.01, on_status=lose)
    assert record["state"] == "succeeded" and len(service.jobs) == 1


def test_a_lost_reply_does_not_create_a_second_job(service: FineTuning, spec: FineTuneSpec) -> None:
    service.faults["dropped"] = 1
    assert make_backend(service).submit(spec, print) == "ftjob-1"
    assert len(service.jobs) == 1


def test_reports_a_web_page_in_place_of_the_service(spec: FineTuneSpec) -> None:
    with recorder(b"<html><title>Hotel</title><body>Sign in</body></html>") as (url, _):
        backend = OpenAIBackend(lambda: Endpoint(url, MODEL, kind="compatible", key=KEY), None)
        with pytest.raises(Unreachable, match="a web page: Hotel – Sign in"):
            backend.find(spec)


def test_reports_an_unreachable_service(service: FineTuning, spec: FineTuneSpec) -> None:
    service.faults["lost"] = 100
    with pytest.raises(Unreachable, match="run the same command again"):
        make_backend(service).find(spec)


@pytest.mark.parametrize(
    ("spoil", "message"),
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
            r"1 of 13 rows is longer than the 65,536 tokens that gpt-4o-mini takes: .*train.chat.jsonl, line 7 has about 7",
        ),
        (lambda rows: [*rows, chat_row(20)], r"valid.chat.jsonl:1: error: the same prompt again: as in train.chat.jsonl:13"),
    ],
    ids=["too few rows", "a missing role", "no answer", "over the context", "leakage"],
)  # fmt: skip
def test_rejects_an_invalid_dataset_before_anything_is_sent(
    service, dataset, tmp_path, spoil, message
) -> None:
    write_dataset(dataset, spoil([chat_row(n) for n in range(12)]), [chat_row(20)])
    with pytest.raises(UserError, match=message):
        make_backend(service).check(FineTuneSpec(dataset=dataset, model=MODEL))
    assert not service.requests


@pytest.mark.parametrize(
    ("change", "message"),
    [({"epochs": 2.5}, "whole epochs"), ({"learning_rate": 1e-5}, "multiplier"), ({"api": "completion"}, "--format completion")],
)  # fmt: skip
def test_rejects_settings_that_the_service_would_misread(service, dataset, change, message) -> None:
    with pytest.raises(UserError, match=message):
        make_backend(service).check(FineTuneSpec(dataset=dataset, model=MODEL, **change))


def test_the_estimate_gives_tokens_cost_and_price(service: FineTuning, spec: FineTuneSpec) -> None:
    tokens, dollars, basis, *_ = make_backend(service).estimate(spec)
    assert tokens > 12 * 30 and dollars == pytest.approx(tokens * 3 / 1e6)
    assert "$3 per million" in basis
    assert (
        make_backend(service).estimate(FineTuneSpec(dataset=spec.dataset, model="somebody/model")).dollars
        is None
    )


def test_the_verb_spends_nothing_without_confirmation(
    service: FineTuning, dataset: Path, tmp_path: Path
) -> None:
    out, rates = tmp_path / "out", ("--learning-rate", 0.5, "--learning-rate", 2)
    done = run(service, dataset, out, *rates)
    assert (done.returncode, service.requests.total()) == (1, 0)
    assert (
        done.stderr
        == "error: this costs money and there is no terminal to confirm on: see --dry-run, then add --yes\n"
    )
    done = run(service, dataset, out, *rates, "--dry-run")
    assert (done.returncode, service.requests.total()) == (0, 0) and not out.exists()
    assert done.stdout.count("tokens trained, less than $0.01") == 2


def test_the_estimate_of_the_verb_goes_by_the_user_s_prices(
    service: FineTuning, dataset: Path, tmp_path: Path
) -> None:
    mine = tmp_path / "prices.json"
    mine.write_text(json.dumps({"models": {f"ft:{MODEL}": {"training": 3_000_000}}}), encoding="utf-8")
    done = run(service, dataset, tmp_path / "out", "--dry-run", "--prices", mine)
    assert done.returncode == 0 and "$3e+06 per million tokens" in done.stdout
    tokens, dollars = re.findall(r"about ([\d,]+) tokens trained, \$([\d,.]+)", done.stdout)[0]
    assert float(dollars.replace(",", "")) == 3 * int(tokens.replace(",", ""))
    spent = run(service, dataset, tmp_path / "out", "--yes", "--max-cost", 100, "--prices", mine)
    assert spent.returncode == 1 and "more than --max-cost $100.00" in spent.stderr
    assert service.requests.total() == 0


def test_a_model_without_a_training_price_says_how_to_give_one(
    service: FineTuning, dataset: Path, tmp_path: Path
) -> None:
    done = run(service, dataset, tmp_path / "out", "--dry-run", "--model", "somebody/model")
    assert (
        done.returncode == 0
        and "no training price for ft:somebody/model: give one with --prices" in done.stdout
    )


def test_reports_a_missing_key_before_asking_for_confirmation(dataset: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if "API_KEY" not in name}
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
    done = subprocess.run([sys.executable, "-m", "tools", *map(str, arguments)], cwd=ROOT, env=env, input="y\n",
                           capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 1
    assert "OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr
    assert "?" not in done.stdout


def test_the_verb_runs_a_sweep_and_plots_its_losses(
    service: FineTuning, dataset: Path, tmp_path: Path
) -> None:
    out, rates = tmp_path / "out", ("--learning-rate", 0.5, "--learning-rate", 2)
    done = run(service, dataset, out, *rates, "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(
        f"use it with --connection {service.url}:ft:gpt-4o-mini:acme:raft:9aB2"
    )
    assert (out / "losses.png").read_bytes().startswith(b"\x89PNG")
    assert {read_record(out / f"lr-{rate}")["state"] for rate in ("0.5", "2")} == {"succeeded"}
    done = run(service, dataset, out, *rates)
    assert done.returncode == 0 and len(service.jobs) == 2, (
        "a job that succeeded needs no confirmation and is not submitted again"
    )
    assert_no_key(done.stdout, done.stderr, folder=out)


@pytest.mark.parametrize(
    ("faults", "message"),
    [({"quota": 1}, "has no quota left"), ({"expired": 9}, "check RAFT_API_KEY")],
)
def test_the_verb_reports_a_refused_call_and_succeeds_when_run_again(
    service, dataset, tmp_path, faults, message
) -> None:
    service.faults.update(faults)
    done = run(service, dataset, tmp_path / "out", "--yes")
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert (read_record(tmp_path / "out") or {"job": ""})["job"] == "" and not service.jobs
    assert_no_key(done.stdout, done.stderr, folder=tmp_path / "out")
    service.faults.clear()
    assert run(service, dataset, tmp_path / "out", "--yes").returncode == 0 and len(service.jobs) == 1


def test_the_verb_killed_before_recording_the_job_does_not_submit_it_twice(
    service, dataset, tmp_path
) -> None:
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


def test_ctrl_c_stops_waiting_and_cancel_stops_the_job(dataset: Path, tmp_path: Path) -> None:
    with scripted_finetuning(states=("queued", "running")) as service:
        process = subprocess.Popen(command(service, dataset, tmp_path / "out", "--yes"), cwd=ROOT, env=environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)  # fmt: skip
        wait_for(lambda: service.jobs and service.requests["GET /fine_tuning/jobs/*"] > 3)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=120)[1]
        assert process.returncode == 130 and "the jobs go on: run the same command again" in stderr
        assert service.jobs["ftjob-1"]["states"] == ["running"]
        done = run(service, dataset, tmp_path / "out", "--cancel")
        assert done.returncode == 0 and "Job ftjob-1: cancelled" in done.stdout, done.stderr
        assert read_record(tmp_path / "out")["state"] == "cancelled" and len(service.jobs) == 1
