"""Draw a comparison: metrics by arm, scores against distractors, cost against quality; as SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..metrics import GROUPS, JUDGED, METRICS, in_group
from .text import show_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Apart for those who see colours differently (Okabe and Ito 2008, "Color Universal Design").
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKS = "osD^vP"
_SHARES = [name for group in GROUPS for name in in_group(group, plotted=True) if name not in JUDGED]
_SWEPT = ("f1", "quotes_verbatim")


class Plot(NamedTuple):
    """A picture, and what it shows for those who do not see it."""

    name: str
    svg: str
    title: str
    alt: str


def draw_plots(comparison: Mapping[str, Any]) -> list[Plot]:
    """Draw what a comparison has numbers for; each plot is a whole SVG file."""
    plots = [_metrics(comparison, _SHARES, "metrics", "Metrics by arm, with 95 % intervals", (-0.02, 1.02))]
    plots += [
        _metrics(comparison, JUDGED, "judge", "The judge's scores by arm, with 95 % intervals", (0.9, 5.1))
    ]
    plots += [_distractor_sweep(comparison), _cost(comparison)]
    return [plot for plot in plots if plot]


def _metrics(
    comparison: Mapping[str, Any],
    names: Sequence[str],
    name: str,
    title: str,
    limits: tuple[float, float],
) -> Plot | None:
    """Draw a row for each metric, in it a mark for each arm."""
    arms = comparison["arms"]
    names = [one for one in names if any((of.get(one) or {}).get("mean") is not None for of in arms.values())]
    if not names:
        return None
    figure, axes = _figure(0.7 + len(names) * (0.16 + 0.13 * len(arms)))
    for place, (arm, of) in enumerate(arms.items()):
        shift = (place - (len(arms) - 1) / 2) * 0.7 / len(arms)
        points = [
            (at + shift, of[one])
            for at, one in enumerate(names)
            if (of.get(one) or {}).get("mean") is not None
        ]
        axes.errorbar(
            [mean["mean"] for _, mean in points],
            [at for at, _ in points],
            xerr=_errors([mean for _, mean in points]),
            **_style(place),
            linestyle="none",
            label=arm,
        )
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=limits)
    axes.set_yticks(range(len(names)), [_label(one) for one in names])
    for at in range(1, len(names)):
        axes.axhline(at - 0.5, color="#e5e5e5", linewidth=0.8, zorder=0)
    axes.grid(axis="x", alpha=0.3)
    _legend(figure, len(arms))
    told = "; ".join(
        f"{one}: "
        + ", ".join(
            f"{arm} {of[one]['mean']:.2f}"
            for arm, of in arms.items()
            if (of.get(one) or {}).get("mean") is not None
        )
        for one in names
    )
    return Plot(name, _svg(figure), title, told)


def _distractor_sweep(comparison: Mapping[str, Any]) -> Plot | None:
    """Draw F1 and verbatim quotes over the number of distractors beside the oracle."""
    sweep = comparison["distractors"]
    arms = list(comparison["arms"])
    names = [
        name for name in _SWEPT
        if any(_there(of, name) for by_count in sweep.values() for of in by_count.values())
    ]  # fmt: skip
    if not names:
        return None
    figure, panels = _figure(3.2, len(names))
    told = []
    for panel, name in zip(panels if len(names) > 1 else [panels], names, strict=True):
        for arm, by_count in sweep.items():
            points = [(int(count), of["metrics"][name]) for count, of in by_count.items() if _there(of, name)]
            if not points:
                continue
            panel.errorbar(
                [count for count, _ in points],
                [mean["mean"] for _, mean in points],
                yerr=_errors([mean for _, mean in points]),
                **_style(arms.index(arm)),
                label=arm,
            )
            told.append(
                f"{name} of {arm}: " + ", ".join(f"{count}: {of['mean']:.2f}" for count, of in points)
            )
        panel.set(title=_label(name), xlabel="distractors beside the oracle", ylim=(-0.03, 1.03))
        panel.grid(alpha=0.3)
    _legend(figure, len(sweep))
    return Plot("distractors", _svg(figure), "Score as distractors grow", "; ".join(told))


def _cost(comparison: Mapping[str, Any]) -> Plot | None:
    """Draw F1 over what 1000 questions cost; over tokens where no money is known or none is paid."""
    from matplotlib.ticker import LogLocator

    arms, costs = comparison["arms"], comparison["costs"]
    paid = all(cost["dollars_per_1000"] for cost in costs.values())
    points = []
    for place, (arm, of) in enumerate(arms.items()):
        cost = costs[arm]
        spent = cost["dollars_per_1000"] if paid else _tokens(cost)
        if _there({"metrics": of}, "f1") and spent is not None:
            points.append((place, arm, spent, of["f1"]))
    if not points:
        return None
    figure, axes = _figure(3.4)
    for place, arm, spent, mean in points:
        axes.errorbar([spent], [mean["mean"]], yerr=_errors([mean]), **_style(place), label=arm)
    axes.set(xlabel="dollars per 1000 questions" if paid else "tokens a question, sent and written",
             ylabel="F1", ylim=(-0.03, 1.03))  # fmt: skip
    most, least = max(one[2] for one in points), min(one[2] for one in points)
    if least and most / least > 8:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    else:
        axes.set_xlim(0, most * 1.15)
    axes.grid(alpha=0.3)
    _legend(figure, len(points))
    unit = "dollars per 1000 questions" if paid else "tokens a question"
    told = "; ".join(f"{arm}: F1 {mean['mean']:.2f} for {spent:.4g} {unit}" for _, arm, spent, mean in points)
    return Plot("cost", _svg(figure), "Quality against cost", told)


def _tokens(cost: Mapping[str, Any]) -> float | None:
    if cost["prompt_tokens"] is None:
        return None
    return float(cost["prompt_tokens"] + cost["completion_tokens"])


def _there(of: Mapping[str, Any], name: str) -> bool:
    return (of["metrics"].get(name) or {}).get("mean") is not None


def _errors(means: Sequence[Mapping[str, Any]]) -> list[list[float]]:
    """Give how far the ends of intervals are from their means; a mean without one has no bar."""
    low = [0.0 if mean["low"] is None else max(0.0, mean["mean"] - mean["low"]) for mean in means]
    high = [0.0 if mean["high"] is None else max(0.0, mean["high"] - mean["mean"]) for mean in means]
    return [low, high]


def _label(name: str) -> str:
    arrow = {"higher": " ↑", "lower": " ↓"}.get(METRICS[name].better, "")
    return show_name(name) + arrow


def _style(place: int) -> dict[str, Any]:
    colour = _COLOURS[place % len(_COLOURS)]
    return {
        "color": colour,
        "marker": _MARKS[place % len(_MARKS)],
        "markersize": 5,
        "capsize": 2,
        "linewidth": 1.4,
    }


def _figure(height: float, panels: int = 1) -> tuple[Figure, Any]:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure  # without pyplot, which would look for a screen

    figure = Figure(figsize=(7.2, height + 0.4), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.subplots(1, panels)


def _legend(figure: Figure, columns: int) -> None:
    axes: Axes = figure.axes[0]
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(columns, 6), frameon=False)


def _svg(figure: Figure) -> str:
    """Write a figure as SVG, the same bytes for the same numbers."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "raft", "font.size": 10}):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()
