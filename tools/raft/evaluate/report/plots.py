"""Plot a comparison as SVG: metrics by arm, scores against distractors, F1 against cost."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..metrics import GROUPS, JUDGED, METRICS, in_group
from .text import show_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinguishable with colour vision deficiency (Okabe and Ito 2008, "Color Universal Design").
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"
_UNJUDGED = [name for group in GROUPS for name in in_group(group, plotted=True) if name not in JUDGED]
_SWEPT = ("f1", "quotes_verbatim")


class Plot(NamedTuple):
    """A plot with its title and its text alternative."""

    name: str
    svg: str
    title: str
    alt: str


def draw_plots(comparison: Mapping[str, Any]) -> list[Plot]:
    """Draw the plots that a comparison has numbers for; each is a complete SVG file."""
    plots = [_metrics(comparison, _UNJUDGED, "metrics", "Metrics by arm, with 95 % intervals", (-0.02, 1.02))]
    plots += [_metrics(comparison, JUDGED, "judge", "Judge scores by arm, with 95 % intervals", (0.9, 5.1))]
    plots += [_distractor_sweep(comparison), _coverage(comparison), _cost(comparison)]
    return [plot for plot in plots if plot]


def _metrics(
    comparison: Mapping[str, Any],
    names: Sequence[str],
    name: str,
    title: str,
    limits: tuple[float, float],
) -> Plot | None:
    """Draw a row for each metric, with a marker for each arm."""
    arms = comparison["arms"]
    names = [metric for metric in names if any(_has_mean(means, metric) for means in arms.values())]
    if not names:
        return None
    figure, axes = _figure(0.7 + len(names) * (0.16 + 0.13 * len(arms)))
    for i, (arm, means) in enumerate(arms.items()):
        shift = (i - (len(arms) - 1) / 2) * 0.7 / len(arms)
        points = [
            (row + shift, means[metric]) for row, metric in enumerate(names) if _has_mean(means, metric)
        ]
        axes.errorbar(
            [mean["mean"] for _, mean in points],
            [y for y, _ in points],
            xerr=_errors([mean for _, mean in points]),
            **_style(i),
            linestyle="none",
            label=arm,
        )
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=limits)
    axes.set_yticks(range(len(names)), [_label(metric) for metric in names])
    for row in range(1, len(names)):
        axes.axhline(row - 0.5, color="#e5e5e5", linewidth=0.8, zorder=0)
    axes.grid(axis="x", alpha=0.3)
    _legend(figure, len(arms))
    alt = "; ".join(
        f"{metric}: "
        + ", ".join(
            f"{arm} {means[metric]['mean']:.2f}" for arm, means in arms.items() if _has_mean(means, metric)
        )
        for metric in names
    )
    return Plot(name, _svg(figure), title, alt)


def _distractor_sweep(comparison: Mapping[str, Any]) -> Plot | None:
    """Draw F1 and verbatim quotes against the number of distractors."""
    sweep = comparison["distractors"]
    arms = list(comparison["arms"])
    names = [
        name
        for name in _SWEPT
        if any(_has_mean(row["metrics"], name) for by_count in sweep.values() for row in by_count.values())
    ]
    if not names:
        return None
    figure, panels = _figure(3.2, len(names))
    alt = []
    for panel, name in zip(panels if len(names) > 1 else [panels], names, strict=True):
        for arm, by_count in sweep.items():
            points = [
                (int(count), row["metrics"][name])
                for count, row in by_count.items()
                if _has_mean(row["metrics"], name)
            ]
            if not points:
                continue
            panel.errorbar(
                [count for count, _ in points],
                [mean["mean"] for _, mean in points],
                yerr=_errors([mean for _, mean in points]),
                **_style(arms.index(arm)),
                label=arm,
            )
            alt.append(
                f"{name} of {arm}: " + ", ".join(f"{count}: {mean['mean']:.2f}" for count, mean in points)
            )
        panel.set(title=_label(name), xlabel="distractors in addition to the oracle", ylim=(-0.03, 1.03))
        panel.grid(alpha=0.3)
    _legend(figure, len(sweep))
    return Plot("distractors", _svg(figure), "Scores by number of distractors", "; ".join(alt))


def _coverage(comparison: Mapping[str, Any]) -> Plot | None:
    """Draw the accuracy of the answers against the share of questions that are answered."""
    arms = list(comparison["arms"])
    curves = {arm: result["curve"] for arm, result in comparison["refusals"].items() if result["curve"]}
    if not curves:
        return None
    figure, axes = _figure(3.4)
    for arm, curve in curves.items():
        xs, ys = [point["coverage"] for point in curve], [point["accuracy"] for point in curve]
        style = _style(arms.index(arm))
        axes.plot(xs, ys, color=style["color"], linewidth=style["linewidth"])
        axes.errorbar(xs[-1:], ys[-1:], **style, label=arm)  # what was answered
    axes.set(xlabel="share of the questions answered", ylabel="F1 of the answers", xlim=(0, 1.03))
    axes.set(ylim=(-0.03, 1.03))
    axes.grid(alpha=0.3)
    _legend(figure, len(curves))
    alt = "; ".join(
        f"{arm}: F1 {curve[-1]['accuracy']:.2f} for {curve[-1]['coverage']:.0%} of the questions"
        for arm, curve in curves.items()
    )
    title = "Coverage and accuracy, questions without their oracle included"
    return Plot("coverage", _svg(figure), title, alt)


def _cost(comparison: Mapping[str, Any]) -> Plot | None:
    """Draw F1 against the cost of 1000 questions, or against tokens if a cost is unknown or zero."""
    from matplotlib.ticker import LogLocator

    arms, costs = comparison["arms"], comparison["costs"]
    in_dollars = all(cost["dollars_per_1000"] for cost in costs.values())
    points = []
    for i, (arm, means) in enumerate(arms.items()):
        cost = costs[arm]["dollars_per_1000"] if in_dollars else _tokens(costs[arm])
        if _has_mean(means, "f1") and cost is not None:
            points.append((i, arm, cost, means["f1"]))
    if not points:
        return None
    figure, axes = _figure(3.4)
    for i, arm, cost, mean in points:
        axes.errorbar([cost], [mean["mean"]], yerr=_errors([mean]), **_style(i), label=arm)
    axes.set(
        xlabel="dollars per 1000 questions" if in_dollars else "tokens per question, prompt and completion",
        ylabel="F1",
        ylim=(-0.03, 1.03),
    )
    highest, lowest = max(cost for _, _, cost, _ in points), min(cost for _, _, cost, _ in points)
    if lowest and highest / lowest > 8:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    else:
        axes.set_xlim(0, highest * 1.15)
    axes.grid(alpha=0.3)
    _legend(figure, len(points))
    unit = "dollars per 1000 questions" if in_dollars else "tokens per question"
    alt = "; ".join(f"{arm}: F1 {mean['mean']:.2f} for {cost:.4g} {unit}" for _, arm, cost, mean in points)
    return Plot("cost", _svg(figure), "F1 against cost", alt)


def _tokens(cost: Mapping[str, Any]) -> float | None:
    if cost["prompt_tokens"] is None:
        return None
    return float(cost["prompt_tokens"] + cost["completion_tokens"])


def _has_mean(means: Mapping[str, Any], name: str) -> bool:
    return (means.get(name) or {}).get("mean") is not None


def _errors(means: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Return the distances of the intervals' ends from the means; 0 for a mean without an interval."""
    low = [0.0 if mean["low"] is None else max(0.0, mean["mean"] - mean["low"]) for mean in means]
    high = [0.0 if mean["high"] is None else max(0.0, mean["high"] - mean["mean"]) for mean in means]
    return [low, high]


def _label(name: str) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(METRICS[name].better, "")
    return show_name(name) + arrow


def _style(i: int) -> dict[str, Any]:
    return {
        "color": _COLOURS[i % len(_COLOURS)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "markersize": 5,
        "capsize": 2,
        "linewidth": 1.4,
    }


def _figure(height: float, panels: int = 1) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure  # not pyplot, which would look for a display

    figure = Figure(figsize=(7.2, height + 0.4), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(1, panels)


def _legend(figure: Figure, columns: int) -> None:
    axes: Axes = figure.axes[0]
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(columns, 6), frameon=False)


def _svg(figure: Figure) -> str:
    """Render a figure as SVG, deterministically."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "raft", "font.size": 10}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
