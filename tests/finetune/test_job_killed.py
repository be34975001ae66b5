"""A run killed at any moment still leads to one job and its model."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.raft.finetune import job as jobs
from tools.raft.finetune.backend import Estimate, FineTuneSpec, Result, Status
from tools.raft.finetune.job import read_record, run_job


class Killed(BaseException):
    """Not caught by any handler in the code, like a kill."""


class ScriptedBackend:
    """An in-memory backend; `kill_at` counts its calls and the record writes down to a kill."""

    name = "scripted"

    def __init__(self, states=("queued", "running", "succeeded")) -> None:
        self.states, self.jobs, self.kill_at = states, {}, -1

    def tick(self) -> None:
        self.kill_at -= 1
        if self.kill_at == 0:
            raise Killed

    def check(self, spec: FineTuneSpec) -> None: ...

    def check_life(self, spec: FineTuneSpec) -> None: ...

    def estimate(self, spec: FineTuneSpec) -> Estimate:
        return Estimate(1, 0.0, "")

    def find(self, spec: FineTuneSpec) -> str | None:
        self.tick()
        return next((job for job, (key, _) in reversed(self.jobs.items()) if key == spec.key), None)

    def submit(self, spec: FineTuneSpec, on_step) -> str:
        on_step("uploaded")
        self.tick()  # before the request
        job = f"job-{len(self.jobs) + 1}"
        self.jobs[job] = (spec.key, list(self.states))
        self.tick()  # after it, before its reply is seen
        return job

    def status(self, job: str) -> Status:
        self.tick()
        states = self.jobs[job][1]
        state = states.pop(0) if len(states) > 1 else states[0]
        return Status(state=state, message="", step=1, steps=2, metrics={"train_loss": 1.0})

    def cancel(self, job: str) -> None:
        self.jobs[job][1][:] = ["cancelled"]

    def result(self, spec: FineTuneSpec, job: str, out: Path) -> Result:
        self.tick()
        return Result(model=f"tuned-{job}", connection=None, files=[], metrics={})


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.chat.jsonl").write_text("{}\n", encoding="utf-8")
    return FineTuneSpec(dataset=tmp_path / "data", model="small")


def test_a_run_killed_at_any_moment_resumes_to_one_job_and_its_model(
    spec: FineTuneSpec, tmp_path: Path, monkeypatch
) -> None:
    save = jobs._save
    kills = 0
    for moment in range(1, 40):
        backend, out = ScriptedBackend(), tmp_path / str(moment)
        backend.kill_at = moment

        def save_and_tick(*args, backend=backend, **changes) -> None:
            backend.tick()  # killed before the write …
            save(*args, **changes)
            backend.tick()  # … or after it

        monkeypatch.setattr(jobs, "_save", save_and_tick)
        try:
            run_job(backend, spec, out, poll=0)
        except Killed:
            kills += 1
        record = run_job(backend, spec, out, poll=0)
        assert list(backend.jobs) == ["job-1"], f"killed at moment {moment}"
        assert record["state"] == "succeeded" and record["result"]["model"] == "tuned-job-1"
        assert record == read_record(out)
    assert kills > 15, "too few moments were tested"
