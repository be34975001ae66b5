"""A job from its spec to its model: what its record holds, and that nothing is submitted twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.raft.errors import UserError
from tools.raft.finetune.backend import Estimate, FineTuneSpec, Result, State, Status
from tools.raft.finetune.job import PATIENCE, read_record, run_job, sweep_folders
from tools.raft.models.service import Unreachable


class ScriptedBackend:
    """A service that keeps its jobs across the runs that submit and follow them."""

    name = "scripted"

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.states: list[State | Exception] = ["queued", "running", "succeeded"]
        self.polls = 0
        self.fails_after_creating: BaseException | None = None
        self.retired = False

    def check(self, spec: FineTuneSpec) -> None: ...

    def check_life(self, spec: FineTuneSpec) -> None:
        if self.retired:
            raise UserError("no new fine-tuning jobs")

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        return Estimate(0, None, "")

    def find(self, spec: FineTuneSpec) -> str | None:
        return next((job for job in reversed(self.jobs) if spec.key in job), None)

    def submit(self, spec: FineTuneSpec, on_step) -> str:
        on_step("uploaded train.chat.jsonl")
        self.jobs.append(f"{spec.key}-{len(self.jobs) + 1}")
        self.polls = 0
        if self.fails_after_creating:
            raise self.fails_after_creating
        return self.jobs[-1]

    def status(self, job: str) -> Status:
        state = self.states[min(self.polls, len(self.states) - 1)]
        self.polls += 1
        if isinstance(state, Exception):
            raise state
        return Status(state=state, message="", step=None, steps=None, metrics={"train_loss": 0.5})

    def cancel(self, job: str) -> None: ...

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        return Result(model="tuned", connection=out / "c.yaml", files=[], metrics={"train_loss": 0.5})


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    (tmp_path / "train.chat.jsonl").write_text("{}\n")
    return FineTuneSpec(tmp_path, "small")


def test_the_key_depends_on_settings_and_rows_but_not_on_the_folder(spec: FineTuneSpec, tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "train.chat.jsonl").write_text("{}\n")
    assert replace(spec, dataset=elsewhere).key == spec.key
    assert replace(spec, learning_rate=1e-5).key != spec.key
    (elsewhere / "valid.chat.jsonl").write_text("{}\n")
    assert replace(spec, dataset=elsewhere).key != spec.key


def test_follows_a_job_and_keeps_its_record(spec: FineTuneSpec, tmp_path: Path):
    backend, seen = ScriptedBackend(), []
    record = run_job(backend, spec, tmp_path / "out", poll=0.001, on_status=lambda s: seen.append(s["state"]))
    assert seen == ["queued", "running", "succeeded"]
    assert record == json.loads((tmp_path / "out" / "job.json").read_text())
    assert record["steps"] == ["uploaded train.chat.jsonl"] and record["result"]["model"] == "tuned"
    assert run_job(backend, spec, tmp_path / "out") == record and len(backend.jobs) == 1


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Unreachable("away")])
def test_finds_the_job_after_a_stop_before_the_reply(spec: FineTuneSpec, tmp_path: Path, stop: BaseException):
    backend = ScriptedBackend()
    backend.fails_after_creating = stop
    with pytest.raises(type(stop)):
        run_job(backend, spec, tmp_path / "out", poll=0.001)
    assert read_record(tmp_path / "out")["state"] == "submitting"
    assert run_job(backend, spec, tmp_path / "out", poll=0.001)["state"] == "succeeded"
    assert len(backend.jobs) == 1


def test_finds_a_job_without_its_record_by_its_spec(spec: FineTuneSpec, tmp_path: Path):
    backend = ScriptedBackend()
    run_job(backend, spec, tmp_path / "one", poll=0.001)
    run_job(backend, spec, tmp_path / "two", poll=0.001)
    assert len(backend.jobs) == 1


def test_polls_once_without_waiting(spec: FineTuneSpec, tmp_path: Path):
    backend = ScriptedBackend()
    assert run_job(backend, spec, tmp_path / "out", wait=False)["state"] == "queued"
    assert run_job(backend, spec, tmp_path / "out", wait=False)["state"] == "running"
    assert run_job(backend, spec, tmp_path / "out", wait=False)["result"]["model"] == "tuned"
    assert len(backend.jobs) == 1


def test_a_job_is_followed_after_its_model_retired_but_no_other_submitted(
    spec: FineTuneSpec, tmp_path: Path
) -> None:
    backend = ScriptedBackend()
    run_job(backend, spec, tmp_path / "out", wait=False)
    backend.retired = True
    assert run_job(backend, spec, tmp_path / "out", poll=0.001)["state"] == "succeeded"
    with pytest.raises(UserError, match="no new"):
        run_job(backend, replace(spec, seed=7), tmp_path / "other")
    assert len(backend.jobs) == 1 and not (tmp_path / "other").exists()


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_resubmits_a_failed_or_cancelled_job_when_run_again(spec: FineTuneSpec, tmp_path: Path, end: State):
    backend = ScriptedBackend()
    backend.states = [end]
    assert run_job(backend, spec, tmp_path / "out", poll=0.001)["state"] == end
    assert len(backend.jobs) == 1
    backend.states = ["succeeded"]
    assert run_job(backend, spec, tmp_path / "out", poll=0.001)["state"] == "succeeded"
    assert len(backend.jobs) == 2


def test_waits_for_an_unreachable_service_but_not_forever(spec: FineTuneSpec, tmp_path: Path):
    backend = ScriptedBackend()
    backend.states = ["running", *[Unreachable("away")] * (PATIENCE - 1), "running", "succeeded"]
    assert run_job(backend, spec, tmp_path / "out", poll=0.001)["state"] == "succeeded"
    backend.states = ["running", *[Unreachable("away")] * PATIENCE, "succeeded"]
    other = replace(spec, seed=1)
    with pytest.raises(Unreachable):
        run_job(backend, other, tmp_path / "other", poll=0.001)
    assert run_job(backend, other, tmp_path / "other", poll=0.001)["state"] == "succeeded"
    assert len(backend.jobs) == 2


def test_a_folder_holds_one_spec(spec: FineTuneSpec, tmp_path: Path):
    run_job(ScriptedBackend(), spec, tmp_path / "out", poll=0.001)
    with pytest.raises(UserError, match="another --out"):
        run_job(ScriptedBackend(), replace(spec, epochs=1), tmp_path / "out", poll=0.001)


@pytest.mark.parametrize("text", ["{", "[]", "{}", "null"])
def test_reports_a_damaged_record(spec: FineTuneSpec, tmp_path: Path, text: str):
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        run_job(ScriptedBackend(), spec, tmp_path)


def test_each_rate_of_a_sweep_has_its_own_folder(tmp_path: Path):
    assert sweep_folders(tmp_path, [1e-5]) == {1e-5: tmp_path}
    assert sweep_folders(tmp_path, [1e-5, 2e-4]) == {
        1e-5: tmp_path / "lr-1e-05",
        2e-4: tmp_path / "lr-0.0002",
    }


def test_resumes_a_job_recorded_by_an_earlier_version(spec: FineTuneSpec, tmp_path: Path):
    order = {"dataset": "data", "model": "small", "api": "chat", "epochs": 3, "learning_rate": None}
    order |= {"batch_size": None, "rank": None, "seed": 42, "suffix": "raft"}
    earlier = {
        "backend": "scripted",
        "key": "5465aeb36f3340e7",
        "order": order,
        "state": "running",
        "job": "job-1",
    }
    earlier |= {"steps": [], "message": "", "metrics": {}, "result": {}}
    (tmp_path / "job.json").write_text(json.dumps(earlier))
    backend = ScriptedBackend()
    assert run_job(backend, spec, tmp_path, poll=0.001)["state"] == "succeeded"
    assert backend.jobs == [], "the recorded job is followed, no other is submitted"
