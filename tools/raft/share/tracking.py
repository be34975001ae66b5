"""Log trainings and comparisons to MLflow: settings, metrics and figures, and no key or document."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ..errors import UserError, one_line
from ..finetune.backend import Status
from ..finetune.job import read_record
from ..models.endpoint import environment
from ..records import content_id
from .loggable import (
    Point,
    comparison_metrics,
    dataset_hash,
    figures_only,
    numbers,
    training_points,
    training_settings,
)

EXPERIMENT = "raft"  # unless MLFLOW_EXPERIMENT_NAME or MLFLOW_EXPERIMENT_ID says otherwise
KEY = "raft_key"  # tag by which a run is found again; without dots, which other stores may want quoted
LIVE_SECONDS = 10.0  # between two updates of a training under way
# Of mlflow.utils.validation (3.17.2): what a name may contain, parameters of a batch, characters of a value.
_ILLEGAL = re.compile(r"[^\w.\- /]")
_MAX_PARAMS, _MAX_METRICS, _MAX_VALUE = 100, 1000, 6000
_STATES = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}
# MLflow by itself reports its use to its makers, and tries a server that is gone for minutes.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class Tracker:
    """An MLflow store: the one that MLFLOW_TRACKING_URI names, by default ./mlflow.db and ./mlruns.

    What was done is on disk already: failing to log it is said in one line, and raises nothing.
    """

    def __init__(self, client: Any, env: Mapping[str, str]) -> None:
        self._client, self._env = client, env
        self._opened: dict[str, str] = {}  # runs by their key
        self._logged: dict[tuple[str, str], set[Point]] = {}  # by run and metric
        self._next, self._failed = 0.0, False  # of the updates of a training under way

    def following(self, folder: Path, show: Callable[[Status], None]) -> Callable[[Status], None]:
        """Return a function for `run_job` that shows a status, and now and then logs the steps so far."""

        def on_status(status: Status) -> None:
            show(status)
            if not self._failed and time.monotonic() >= self._next:
                try:
                    self._log_training(folder, ended=False)
                except Exception:  # it is tried once more, and reported, when the job has ended
                    self._failed = True
                self._next = time.monotonic() + LIVE_SECONDS

        return on_status

    def log_training(self, folder: Path, plot: Path | None = None) -> str:
        """Log the job recorded in `folder`: one run for each job, however often it was resumed.

        plot: of its losses. Returns a line for the user.
        """
        with self._reporting() as report:
            run = self._log_training(folder, ended=True)
            if plot and plot.is_file():
                self._client.log_artifact(run, str(plot))
            report.append(self._describe(run))
        return report[0]

    def log_comparison(
        self, comparison: Mapping[str, Any], out: Path, *, dataset: Path | None = None, texts: bool = False
    ) -> str:
        """Log the comparison whose report is in `out`; with the same settings, it is the same run.

        With `texts`, the report and comparison.json are those of `out`, with questions, answers and
        documents; otherwise they have the figures only. Returns a line for the user.
        """
        with self._reporting() as report:
            settings = comparison["settings"]
            tags = {"dataset": dataset.name, "dataset_hash": dataset_hash(dataset)} if dataset else {}
            tags["model"] = " ".join(dict.fromkeys(map(str, settings["models"].values())))
            run = self._log_results("comparison", out, settings, comparison_metrics(comparison), tags)
            with nullcontext(out) if texts else figures_only(comparison) as folder:
                for name in ("report.html", "report.md", "comparison.json"):
                    self._client.log_artifact(run, str(folder / name))
                self._client.log_artifacts(run, str(folder / "plots"), "plots")
            report.append(self._describe(run))
        return report[0]

    def log_measurement(
        self, kind: str, folder: Path, settings: Mapping[str, Any], measured: Mapping[str, Any]
    ) -> str:
        """Log the numbers of a measurement whose files are in `folder`. Returns a line for the user."""
        with self._reporting() as report:
            run = self._log_results(kind, folder, settings, numbers(measured), {})
            report.append(self._describe(run))
        return report[0]

    def _log_results(
        self,
        kind: str,
        folder: Path,
        settings: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
    ) -> str:
        """Log something that was measured at once, and return its run: one for each folder and settings."""
        key = content_id(kind, folder.resolve(), json.dumps(settings, sort_keys=True, default=str))
        run = self._open_run(key, folder.name, settings, {"kind": kind, **tags})
        self._log_points(run, [(name, 0, value) for name, value in metrics.items()])
        self._client.set_terminated(run, "FINISHED")
        return run

    def _log_training(self, folder: Path, *, ended: bool) -> str:
        """Bring the run of a folder's job up to date, and return its id.

        Until the job has ended, settings and tags are logged once.
        """
        record = read_record(folder)
        if record is None or not record["job"]:
            raise UserError(f"{folder} has no job yet")
        key = content_id("training", record["backend"], record["job"], folder.resolve())
        if ended or key not in self._opened:
            order, dataset = record["order"], Path(record["order"]["dataset"])
            self._opened[key] = self._open_run(
                key,
                folder.name,
                {"backend": record["backend"], **training_settings(record)},
                {
                    "kind": "training",
                    "model": order["model"],
                    "dataset": dataset.name,
                    "dataset_hash": dataset_hash(dataset, order.get("api", "chat")),
                    "job": record["job"],
                    "tuned_model": record["result"].get("model") or "",
                },
            )
        run = self._opened[key]
        self._log_points(run, training_points(folder, record))
        if status := _STATES.get(record["state"]):
            self._client.set_terminated(run, status)
        else:
            self._client.update_run(run, status="RUNNING")
        return run

    def _open_run(self, key: str, name: str, settings: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Return the run with this key, created if there is none, with these settings and tags."""
        from mlflow.entities import Param, RunTag

        experiment = self._open_experiment()
        found = self._client.search_runs([experiment], f"tags.{KEY} = '{key}'", max_results=1)
        if not found:
            parent = self._env.get("MLFLOW_RUN_ID")  # of the job that this process is, as on Azure ML
            created = {KEY: key, **({"mlflow.parentRunId": parent} if parent else {})}
            found = [self._client.create_run(experiment, tags=created, run_name=name)]
        run, present = found[0].info.run_id, found[0].data.params  # a parameter cannot be changed
        params = [Param(name, value) for name, value in _flatten(settings) if name not in present]
        new_tags = [RunTag(name, value) for name, value in tags.items() if value]
        for start in range(0, max(len(params), 1), _MAX_PARAMS):
            self._client.log_batch(run, params=params[start : start + _MAX_PARAMS], tags=new_tags)
            new_tags = []
        return str(run)

    def _open_experiment(self) -> str:
        if id := self._env.get("MLFLOW_EXPERIMENT_ID"):
            return id
        name = self._env.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        experiment = self._client.get_experiment_by_name(name)
        return str(experiment.experiment_id if experiment else self._client.create_experiment(name))

    def _log_points(self, run: str, points: Iterable[Point]) -> None:
        """Log the points that the run does not have yet."""
        from mlflow.entities import Metric

        points = list(dict.fromkeys((_ILLEGAL.sub("_", name), step, value) for name, step, value in points))
        for name in {name for name, _, _ in points}:
            if (run, name) not in self._logged:
                history = self._client.get_metric_history(run, name)
                self._logged[run, name] = {(metric.key, metric.step, metric.value) for metric in history}
        new = [point for point in points if point not in self._logged[run, point[0]]]
        now = int(time.time() * 1000)
        for start in range(0, len(new), _MAX_METRICS):
            batch = new[start : start + _MAX_METRICS]
            self._client.log_batch(
                run, metrics=[Metric(name, value, now, step) for name, step, value in batch]
            )
            for point in batch:
                self._logged[run, point[0]].add(point)

    @contextmanager
    def _reporting(self) -> Iterator[list[str]]:
        """Yield a list for a line; if something fails, put into it what the user has to know instead."""
        report: list[str] = []
        try:
            yield report
        except Exception as error:  # whatever a store raises, the result must not be lost
            report[:] = [
                f"Warning: not logged to MLflow at {self._place} ({_without_user(one_line(error))}); the "
                "result is complete: run the same command again to log it"
            ]

    @property
    def _place(self) -> str:
        return _without_user(str(self._client.tracking_uri))

    def _describe(self, run: str) -> str:
        return f"MLflow: run {run} in {self._place}"


def open_tracker(env: Mapping[str, str] | None = None) -> Tracker:
    """Open the MLflow store, creating a local one. Raises UserError if that, or MLflow, is not to be had."""
    env = environment() if env is None else env
    given = {name: value for name, value in env.items() if name.startswith("MLFLOW_")}  # those of .env, too
    for name, value in {**_DEFAULTS, **given}.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
    except ImportError:
        raise UserError("--mlflow needs MLflow: pip install -r requirements-mlflow.txt") from None
    try:
        client = MlflowClient(env.get("MLFLOW_TRACKING_URI") or None)
    except Exception as error:  # of whatever a store is made of: a database, a plug-in that is missing
        raise UserError(f"--mlflow: the store cannot be opened: {_without_user(one_line(error))}") from None
    return Tracker(client, env)


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield names and values as MLflow takes them, nested ones with a dot, None left out."""
    for name, value in settings.items():
        name = prefix + _ILLEGAL.sub("_", str(name))
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield name, text[:_MAX_VALUE]


def _without_user(uri: str) -> str:
    """Return a text without the user and password of an address in it."""
    return re.sub(r"(?<=://)[^/\s@]+@", "", uri)
