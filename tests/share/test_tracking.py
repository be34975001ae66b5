"""Logging to MLflow, with MLflow itself and its local store (pip install -r requirements-mlflow.txt)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import assert_names_for_mlflow
from tests.evaluate.test_compare_runs import compared, scored_run
from tests.finetune.test_job import ScriptedBackend
from tests.finetune.test_openai import command
from tests.scripted_endpoint import scripted_endpoint
from tests.scripted_finetuning import KEY, scripted_finetuning
from tests.share.dataset import make_dataset
from tools.raft.errors import UserError
from tools.raft.files import PROJECT, json_line
from tools.raft.finetune.backend import FineTuneSpec
from tools.raft.finetune.job import run_job
from tools.raft.share.contents import read_contents
from tools.raft.share.loggable import comparison_metrics
from tools.raft.share.tracking import Tracker, open_tracker

SECRET = "hf_neverToBeLogged"
RAG, RAFT = [0.0, 0.2, 0.4, 0.0, 0.1, 0.2], [1.0, 0.2, 0.8, 0.6, 0.6, 0.7]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty store: MLflow takes seconds to create its tables."""
    pytest.importorskip("mlflow")
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    open_tracker({"MLFLOW_TRACKING_URI": f"sqlite:///{path}"})
    return path


@pytest.fixture
def tracker(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tracker:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID"):  # that another test set
        monkeypatch.delenv(name, raising=False)
    shutil.copy(store, "mlflow.db")
    return open_tracker({})


@pytest.fixture
def spec(tmp_path: Path) -> FineTuneSpec:
    dataset = make_dataset(tmp_path / "dataset")
    overrides = ("packing=true", f"hub_token={SECRET}")
    return FineTuneSpec(dataset, "Qwen/Qwen3-8B", learning_rate=2e-4, overrides=overrides)


def runs() -> list[Any]:
    """Return what the store holds, as MLflow's own client reads it, the first run first."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("raft")
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def history(run: Any, metric: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    return [(each.step, each.value) for each in MlflowClient().get_metric_history(run.info.run_id, metric)]


def artefacts() -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path("mlruns").rglob("*") if path.is_file()}


def write_log(folder: Path, steps: int) -> None:
    rows = (
        {"step": n, "steps": 9, "train_loss": 1 / n, "valid_loss": 2 / n if n % 2 == 0 else None}
        for n in range(1, steps + 1)
    )
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(map(json_line, rows)), encoding="utf-8")


def test_a_training_is_a_run_with_its_settings_losses_and_plot(
    tracker: Tracker, spec: FineTuneSpec, tmp_path: Path
) -> None:
    out, seen = tmp_path / "tuned", []
    write_log(out, 4)
    run_job(ScriptedBackend(), spec, out, poll=0, on_status=tracker.following(out, seen.append))
    (tmp_path / "losses.png").write_bytes(b"\x89PNG")
    line = tracker.log_training(out, tmp_path / "losses.png")
    (run,) = runs()
    assert line == f"MLflow: run {run.info.run_id} in sqlite:///{tmp_path / 'work' / 'mlflow.db'}"
    assert len(seen) == 3 and run.info.status == "FINISHED" and run.info.run_name == "tuned"
    params = run.data.params
    assert (params["backend"], params["learning_rate"], params["epochs"]) == ("scripted", "0.0002", "3")
    assert params["set.packing"] == "true" and params["set.hub_token"] == "[secret]"
    tags = run.data.tags
    assert (tags["model"], tags["tuned_model"], tags["dataset"]) == ("Qwen/Qwen3-8B", "tuned", "dataset")
    assert tags["dataset_hash"] == read_contents(spec.dataset).version, "the version that publish gives it"
    assert history(run, "train_loss") == [(1, 1.0), (2, 0.5), (3, pytest.approx(1 / 3)), (4, 0.25)]
    assert history(run, "valid_loss") == [(2, 1.0), (4, 0.5)]
    assert artefacts() == {"losses.png": b"\x89PNG"}
    assert SECRET.encode() not in Path("mlflow.db").read_bytes()


def test_a_resumed_training_goes_on_in_its_run(tracker: Tracker, spec: FineTuneSpec, tmp_path: Path) -> None:
    out, backend = tmp_path / "tuned", ScriptedBackend()
    backend.states = ["running", "running", "running", "succeeded"]
    write_log(out, 3)
    run_job(backend, spec, out, wait=False, on_status=tracker.following(out, lambda status: None))
    (run,) = runs()
    assert run.info.status == "RUNNING" and len(history(run, "train_loss")) == 3
    # Another process, later.
    again = open_tracker({})
    write_log(out, 5)
    run_job(backend, spec, out, poll=0, on_status=again.following(out, lambda status: None))
    again.log_training(out)
    again.log_training(out)
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(run, "train_loss")] == [1, 2, 3, 4, 5], "none twice"


def test_killed_while_logging_the_next_run_goes_on_in_the_same(
    tracker: Tracker, spec: FineTuneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "tuned"
    write_log(out, 2)
    run_job(ScriptedBackend(), spec, out, poll=0)
    with monkeypatch.context() as patch:
        patch.setattr(
            tracker._client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full"))
        )
        line = tracker.log_training(out)
    assert line.startswith("Warning: not logged to MLflow at sqlite:///") and "(disk full)" in line
    assert line.endswith("the result is complete: run the same command again to log it")
    assert len(runs()) == 1
    assert open_tracker({}).log_training(out).startswith("MLflow: run ")
    (run,) = runs()
    assert len(history(run, "train_loss")) == 2 and run.data.params["seed"] == "42"


def test_a_job_submitted_anew_after_it_failed_is_a_run_of_its_own(
    tracker: Tracker, spec: FineTuneSpec, tmp_path: Path
) -> None:
    out, backend = tmp_path / "tuned", ScriptedBackend()
    backend.states = ["failed"]
    run_job(backend, spec, out, poll=0)
    tracker.log_training(out)
    backend.states = ["succeeded"]
    run_job(backend, spec, out, poll=0)
    tracker.log_training(out)
    assert [run.info.status for run in runs()] == ["FAILED", "FINISHED"]


@pytest.fixture
def comparison(tmp_path: Path) -> dict[str, Any]:
    return compared(
        tmp_path, scored_run(tmp_path, "rag", RAG), scored_run(tmp_path, "raft", RAFT, model="tuned")
    )


def test_a_comparison_has_means_with_n_differences_and_a_report_without_texts(
    tracker: Tracker, comparison: dict[str, Any], tmp_path: Path
) -> None:
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Otters eat fish." in page, "the report beside the answers has the documents"
    dataset = make_dataset(tmp_path / "dataset")
    tracker.log_comparison(comparison, tmp_path / "out", dataset=dataset)
    (run,) = runs()
    metrics = run.data.metrics
    assert metrics["f1.rag"] == pytest.approx(0.15) and metrics["f1.rag.n"] == 6
    assert metrics["f1.raft.difference"] == pytest.approx(0.5) and metrics["questions"] == 6
    assert metrics["dollars_per_1000.rag"] > 0
    assert run.data.params["models.raft"] == "tuned" and run.data.params["seed"] == "42"
    assert run.data.tags["model"] == "gpt-4o tuned"
    assert run.data.tags["dataset_hash"] == read_contents(dataset).version
    files = artefacts()
    assert {"report.html", "report.md", "comparison.json"} <= files.keys()
    assert any(name.endswith(".svg") for name in files)
    assert json.loads(files["comparison.json"])["contrasts"] == json.loads(
        json.dumps(comparison["contrasts"])
    )
    everything = b"".join(files.values()) + Path("mlflow.db").read_bytes()
    assert b"Otters eat fish." not in everything and b"Otter" not in everything
    assert b"data:image" in files["report.html"], "the plots are in it"
    for report in (files["report.html"], files["report.md"]):
        assert b"are not in this copy of the report" in report and b"No arm answered" not in report


def test_the_whole_report_is_logged_if_asked_for(
    tracker: Tracker, comparison: dict[str, Any], tmp_path: Path
) -> None:
    tracker.log_comparison(comparison, tmp_path / "out", texts=True)
    assert artefacts()["report.html"] == (tmp_path / "out" / "report.html").read_bytes()


def test_the_same_comparison_is_the_same_run_and_another_is_another(
    tracker: Tracker, comparison: dict[str, Any], tmp_path: Path
) -> None:
    tracker.log_comparison(comparison, tmp_path / "out")
    open_tracker({}).log_comparison(comparison, tmp_path / "out")
    (run,) = runs()
    assert len(history(run, "f1.rag")) == 1
    changed = {**comparison, "settings": {**comparison["settings"], "seed": 7}}
    tracker.log_comparison(changed, tmp_path / "out")
    assert len(runs()) == 2


def test_a_measurement_has_its_numbers(tracker: Tracker, tmp_path: Path) -> None:
    from tools.raft.evaluate.judge import Verdict
    from tools.raft.evaluate.judge_agreement import PAIRS, measure_agreement, read_pairs

    pairs = read_pairs(PAIRS)
    verdicts = [{name: Verdict(4, "") for name in pair["labels"]} for pair in pairs]
    agreement = measure_agreement(pairs, verdicts, verdicts)
    for _ in range(2):
        line = tracker.log_measurement("judge-check", tmp_path, {"judge": "gpt-judge"}, agreement)
        assert line.startswith("MLflow: run ")
    (run,) = runs()
    assert run.data.params == {"judge": "gpt-judge"} and run.data.tags["kind"] == "judge-check"
    measured = agreement["judgements"]["similarity"]
    assert run.data.metrics["judgements.similarity.n"] == measured["n"]
    assert run.data.metrics["judgements.similarity.exact.mean"] == pytest.approx(measured["exact"]["mean"])


def test_names_are_those_that_mlflow_takes(comparison: dict[str, Any]) -> None:
    assert_names_for_mlflow(comparison_metrics(comparison))


def test_an_experiment_and_a_parent_are_taken_from_the_environment(
    tmp_path: Path, spec: FineTuneSpec, tracker: Tracker
) -> None:
    """As in a job of Azure ML, whose environment names its own run and experiment."""
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.create_experiment("of the job")
    parent = client.create_run(experiment).info.run_id
    out = tmp_path / "tuned"
    run_job(ScriptedBackend(), spec, out, poll=0)
    open_tracker({"MLFLOW_EXPERIMENT_ID": experiment, "MLFLOW_RUN_ID": parent}).log_training(out)
    (run,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    assert run.info.status == "FINISHED" and client.get_run(parent).info.status == "RUNNING"


def test_a_server_that_is_gone_costs_seconds_and_no_result(
    tracker: Tracker, spec: FineTuneSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    gone, out = open_tracker({"MLFLOW_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:9"}), tmp_path / "tuned"
    record = run_job(ScriptedBackend(), spec, out, poll=0, on_status=gone.following(out, lambda status: None))
    assert record["state"] == "succeeded"
    line = gone.log_training(out)
    assert line.startswith("Warning: not logged to MLflow at http://127.0.0.1:9 (")
    assert "\n" not in line and SECRET not in line


@pytest.mark.slow
def test_the_commands_log_and_resume_one_run_each(store: Path, tmp_path: Path) -> None:
    """Each in a process of its own, with the store where MLflow puts it by default."""
    dataset, work = make_dataset(tmp_path / "dataset"), tmp_path / "work"
    work.mkdir()
    shutil.copy(store, work)
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "RAFT_API_KEY": KEY, "COLUMNS": "200"}
    environment = {name: value for name, value in environment.items() if not name.startswith("MLFLOW_")}

    def run(command: list[str], **env: str) -> str:
        done = subprocess.run(
            command, cwd=work, env={**environment, **env}, capture_output=True, text=True, timeout=120,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr and "INFO" not in done.stderr
        return done.stdout

    with scripted_finetuning() as service:
        train = command(service, dataset, tmp_path / "tuned", "--yes", "--mlflow")
        first = run([*train, "--no-wait"])
        again = run(train)
        gone = run(train, MLFLOW_TRACKING_URI="http://127.0.0.1:9", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    logged = [line for line in (first + again).splitlines() if line.startswith("MLflow: run ")]
    assert len(logged) == 2 and logged[0] == logged[1], "the same run"
    assert "Warning: not logged to MLflow at http://127.0.0.1:9" in gone and "Model: " in gone
    with scripted_endpoint() as base, scripted_endpoint() as tuned:
        arguments = (
            "--questions", PROJECT / "data" / "questions.jsonl", "--index", PROJECT / "index",
            "--out", tmp_path / "compared", "--mode", "lexical", "--no-similarity", "--distractor-questions", 0,
            "--baseline", f"{base.url}:gpt-4o", "--raft", f"{tuned.url}:mine", "--mlflow",
        )  # fmt: skip
        shown = run([sys.executable, "-m", "tools", "compare", *map(str, arguments)])
    assert shown.splitlines()[-1].startswith("MLflow: run ")
    assert KEY.encode() not in (work / "mlflow.db").read_bytes()
    names = {path.name for path in (work / "mlruns").rglob("*.*")}
    assert {"losses.png", "report.html", "comparison.json"} <= names


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install -r requirements-mlflow\.txt"):
        open_tracker({})
