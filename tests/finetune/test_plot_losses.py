"""Loss curves: read from the logs of jobs, plotted side by side."""

from __future__ import annotations

from pathlib import Path

from tools.raft.finetune.plot_losses import plot_losses, read_curve


def test_plots_runs_side_by_side_and_reproducibly(tmp_path: Path) -> None:
    import matplotlib.image

    curves = {"1e-5": [(1, 2.0, None), (2, 1.5, 1.8)], "1e-4": [(1, 2.0, None), (2, 1.0, None)]}
    for name in ("one.png", "two.png"):
        plot_losses(curves, tmp_path / name)
    plot_losses({"1e-5": curves["1e-5"]}, tmp_path / "single.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    two_panels, one_panel = (
        matplotlib.image.imread(tmp_path / name).shape for name in ("one.png", "single.png")
    )
    assert two_panels[1] == 2 * one_panel[1] and two_panels[0] == one_panel[0]


def test_reads_a_curve_from_metrics_or_events_and_skips_other_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"message": "Created the job"}\n{"data": {"step": 2, "train_loss": 1, "valid_loss": 1.2}}\n'
        '{"step": 1, "train_loss": 3}\n{"step": 1, "train_loss": 2}\n{"step": 3, "tra',
        encoding="utf-8",
    )
    assert read_curve(path) == [(1, 2.0, None), (2, 1.0, 1.2)]
    assert read_curve(tmp_path / "nothing.jsonl") == []
