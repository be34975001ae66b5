"""Choose what is logged of trainings and comparisons: settings, metrics and figures, no secrets, no texts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..errors import UserError
from ..evaluate.compare_runs import difference_metrics
from ..evaluate.report.html import write_report
from ..files import hash_file, write_json
from ..finetune.job import JobRecord
from ..finetune.plot_losses import read_job_curve
from .contents import read_contents

_SECRET = re.compile(r"(^|_)(token|key|secret|password)$", re.IGNORECASE)

Point = tuple[str, int, float]  # metric, step, value


def training_settings(record: JobRecord) -> dict[str, Any]:
    """Return the settings of a job; overrides that look like a secret are blanked, paths left out."""
    settings = {
        name: value for name, value in record["order"].items() if name not in ("dataset", "overrides")
    }
    for override in record["order"].get("overrides") or ():
        name, _, value = override.partition("=")
        settings[f"set.{name.strip()}"] = "[secret]" if _SECRET.search(name.strip()) else value
    return settings


def training_points(folder: Path, record: JobRecord) -> Iterator[Point]:
    """Yield the losses by step, and the other metrics that the service reports."""
    curve = read_job_curve(folder)
    for step, train_loss, valid_loss in curve:
        yield "train_loss", step, train_loss
        if valid_loss is not None:
            yield "valid_loss", step, float(valid_loss)
    last = curve[-1][0] if curve else 0
    for name, value in {**record["metrics"], **record["result"].get("metrics", {})}.items():
        if not curve or name not in ("train_loss", "valid_loss"):
            yield name, last, float(value)


def comparison_metrics(comparison: Mapping[str, Any]) -> dict[str, float]:
    """Return NAME.ARM, its n and missing, the differences from the baseline, and what 1000 questions cost."""
    metrics = {"questions": float(comparison["questions"]), **difference_metrics(comparison)}
    for arm, means in comparison["arms"].items():
        for name, mean in means.items():
            metrics |= {f"{name}.{arm}.n": float(mean["n"])}
            metrics.setdefault(f"{name}.{arm}.missing", float(mean["missing"]))
    for arm, cost in comparison["costs"].items():
        if cost["dollars_per_1000"] is not None:
            metrics[f"dollars_per_1000.{arm}"] = float(cost["dollars_per_1000"])
    return metrics


def numbers(measured: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Return the numbers of nested results, each under the names that lead to it."""
    found: dict[str, float] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)):
            found[prefix + name] = float(value)
    return found


def dataset_hash(folder: Path, form: str = "chat") -> str:
    """Return the id of a dataset's content, as `publish` does; without a manifest, of its training rows."""
    try:
        return read_contents(folder).version
    except UserError:
        train = folder / f"train.{form}.jsonl"
        return hash_file(train)[:16] if train.is_file() else ""


@contextmanager
def figures_only(comparison: Mapping[str, Any]) -> Iterator[Path]:
    """Yield a folder with the report and comparison.json without questions, answers and documents."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_report(comparison, [], [], folder)
        write_json(folder / "comparison.json", comparison, indent=1)
        yield folder
