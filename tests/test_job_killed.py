"""Jobs killed at any moment, whose service is away, or whose record is damaged: still one job."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tools.raft import job as jobs
from tools.raft.errors import UserError
from tools.raft.job import Estimate, Order, Result, Status, Unreachable, read_record, run_job, sweep_folders


class Killed(BaseException):
    """What no handler of the code catches, as a kill."""


class Scripted:
    """A backend in memory; `kill_at` counts its calls and the writes of the record down to a kill."""

    name = "scripted"

    def __init__(self, states=("queued", "running", "succeeded")) -> None:
        self.states, self.jobs, self.kill_at, self.away = states, {}, -1, 0

    def tick(self) -> None:
        self.kill_at -= 1
        if self.kill_at == 0:
            raise Killed

    def check(self, order: Order) -> None: ...

    def estimate(self, order: Order) -> Estimate:
        return Estimate(1, 0.0, "")

    def find(self, order: Order) -> str | None:
        self.tick()
        return next((job for job, (key, _) in reversed(self.jobs.items()) if key == order.key), None)

    def submit(self, order: Order, on_step) -> str:
        on_step("uploaded")
        self.tick()  # before the request
        job = f"job-{len(self.jobs) + 1}"
        self.jobs[job] = (order.key, list(self.states))
        self.tick()  # after it, before its answer is seen
        return job

    def status(self, job: str) -> Status:
        self.tick()
        if self.away:
            self.away -= 1
            raise Unreachable("away")
        states = self.jobs[job][1]
        state = states.pop(0) if len(states) > 1 else states[0]
        return Status(state=state, message="", step=1, steps=2, metrics={"train_loss": 1.0})

    def cancel(self, job: str) -> None:
        self.jobs[job][1][:] = ["cancelled"]

    def result(self, order: Order, job: str, out: Path) -> Result:
        self.tick()
        return Result(model=f"tuned-{job}", connection=None, files=[], metrics={})


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.chat.jsonl").write_text("{}\n", encoding="utf-8")
    return Order(dataset=tmp_path / "data", model="small")


def test_a_kill_at_any_moment_leaves_one_job_and_its_model(order: Order, tmp_path: Path, monkeypatch) -> None:
    save = jobs._save
    kills = 0
    for moment in range(1, 40):
        backend, out = Scripted(), tmp_path / str(moment)
        backend.kill_at = moment

        def saved(*args, backend=backend, **changes) -> None:
            backend.tick()  # killed before the write, and after it
            save(*args, **changes)
            backend.tick()

        monkeypatch.setattr(jobs, "_save", saved)
        try:
            run_job(backend, order, out, poll=0)
        except Killed:
            kills += 1
        record = run_job(backend, order, out, poll=0)
        assert list(backend.jobs) == ["job-1"], f"killed at {moment}"
        assert record["state"] == "succeeded" and record["result"]["model"] == "tuned-job-1"
        assert record == read_record(out)
    assert kills > 15, "there are that many moments"


def test_the_key_is_of_content_and_settings(order: Order, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copy"
    (order.dataset).rename(elsewhere)
    copy = replace(order, dataset=elsewhere)
    key = copy.key
    assert key != replace(copy, epochs=2).key != replace(copy, learning_rate=0.1).key
    (elsewhere / "train.chat.jsonl").write_text("{ }\n", encoding="utf-8")
    assert copy.key != key


def test_another_order_does_not_take_over_a_record(order: Order, tmp_path: Path) -> None:
    run_job(Scripted(), order, tmp_path / "out", poll=0)
    with pytest.raises(UserError, match="another --out"):
        run_job(Scripted(), replace(order, model="other"), tmp_path / "out", poll=0)


def test_a_damaged_record_is_named(order: Order, tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text('{"job": ', encoding="utf-8")
    with pytest.raises(UserError, match="is damaged"):
        run_job(Scripted(), order, tmp_path, poll=0)


def test_a_service_that_is_away_for_a_while_is_waited_for(order: Order, tmp_path: Path) -> None:
    backend = Scripted()
    backend.away = jobs.PATIENCE - 1
    assert run_job(backend, order, tmp_path / "a", poll=0.001)["state"] == "succeeded"
    backend.away = jobs.PATIENCE
    again = replace(order, seed=1)
    with pytest.raises(Unreachable):
        run_job(backend, again, tmp_path / "b", poll=0.001)
    assert run_job(backend, again, tmp_path / "b", poll=0.001)["state"] == "succeeded"
    assert len(backend.jobs) == 2


def test_a_failed_order_may_be_given_again_a_finished_one_is_not(order: Order, tmp_path: Path) -> None:
    backend = Scripted(states=("failed",))
    assert run_job(backend, order, tmp_path, poll=0)["state"] == "failed"
    backend.states = ("succeeded",)
    assert run_job(backend, order, tmp_path, poll=0)["job"] == "job-2"
    assert run_job(backend, order, tmp_path, poll=0)["job"] == "job-2"
    assert len(backend.jobs) == 2


def test_each_rate_of_a_sweep_has_a_folder(tmp_path: Path) -> None:
    assert sweep_folders(tmp_path, [1e-5]) == {1e-5: tmp_path}
    assert sweep_folders(tmp_path, [1e-5, 0.5]) == {1e-5: tmp_path / "lr-1e-05", 0.5: tmp_path / "lr-0.5"}
