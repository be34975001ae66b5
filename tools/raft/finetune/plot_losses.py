"""Draw the loss curves of training runs side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files import read_log

POLLED = "metrics.jsonl"  # the metrics of each poll of a job
LOGS = ("events.jsonl", "log.jsonl", POLLED)  # openai; local and trl; any

Curve = Sequence[tuple[int, float, float | None]]  # step, training loss, validation loss if measured


def plot_losses(curves: Mapping[str, Curve], path: Path) -> None:
    """Plot training and validation loss against the step as a PNG, one panel per run with shared axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot, which would look for a display

    figure = Figure(figsize=(4.5 * len(curves), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(curves), sharex=True, sharey=True, squeeze=False)[0]
    for panel, (label, curve) in zip(panels, curves.items(), strict=True):
        panel.plot([step for step, _, _ in curve], [loss for _, loss, _ in curve], label="training")
        validation = [(step, loss) for step, _, loss in curve if loss is not None]
        if validation:
            panel.plot(*zip(*validation, strict=True), marker="o", markersize=3, label="validation")
        panel.set(title=label, xlabel="step")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("loss")
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, format="png", metadata={"Software": None})


def read_job_curve(folder: Path) -> Curve:
    """Read the losses of a job: the log of the backend, or else the metrics of each poll."""
    return next(filter(None, (read_curve(folder / name) for name in LOGS)), [])


def read_curve(path: Path) -> Curve:
    """Read a JSONL file of step, train_loss and optionally valid_loss; the last row of a step counts.

    A row may hold them under "data", as OpenAI's events do. Rows without a loss are skipped.
    """
    points: dict[int, tuple[int, float, float | None]] = {}
    for row in read_log(path):
        row = row.get("data") or row
        if row.get("step") is not None and row.get("train_loss") is not None:
            valid_loss = row.get("valid_loss", row.get("full_valid_loss"))
            points[int(row["step"])] = (int(row["step"]), float(row["train_loss"]), valid_loss)
    return [points[step] for step in sorted(points)]
