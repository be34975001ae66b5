"""Write a comparison as a report: one HTML file that needs nothing else, and the same as Markdown."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...files import write_text
from ..metrics import GROUPS, JUDGED, METRICS, WITHOUT_ORACLE, in_group
from .examples import Example
from .text import (
    classify_difference,
    find_headlines,
    find_limits,
    show_chance,
    show_dollars_per_1000,
    show_interval,
    show_name,
    show_break_even,
)

if TYPE_CHECKING:
    from .plots import Plot

TEMPLATES = Path(__file__).parent / "templates"
MOST_ROWS = 1000  # questions in the table of all answers; a page with more is slow to open
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~])")


def write_report(
    comparison: Mapping[str, Any],
    examples: Sequence[Example],
    table: Sequence[Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Write report.html, report.md and its plots/*.svg into a folder; give the path of the HTML.

    `comparison` is what `compare` leaves in comparison.json, `table` a row for each question with `question`,
    `golds`, `slices` and `replies` (arm, answer, score, error). Whatever documents and models say is
    shown as text; the page's policy lets no script run but its own, and nothing be loaded.
    """
    from .plots import draw_plots

    plots = draw_plots(comparison)
    given = {
        "comparison": comparison,
        "cases": examples,
        "table": list(table)[:MOST_ROWS],
        "left_out": max(0, len(table) - MOST_ROWS),
        "headlines": find_headlines(comparison),
        "limits": find_limits(comparison),
        "groups": metric_groups(comparison),
        "slices": slice_rows(comparison),
        "sweep": distractor_rows(comparison["distractors"]),
        "break_even": show_break_even(comparison),
        "plots": plots,
        "without_oracle_metrics": WITHOUT_ORACLE,
    }
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    for plot in plots:
        write_text(folder / "plots" / f"{plot.name}.svg", plot.svg)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = _environment(escape=True).get_template("report.html.jinja2")
    write_text(
        folder / "report.html", page.render(given, script=script, script_hash=_hash(script), style=style)
    )
    write_text(
        folder / "report.md", _environment(escape=False).get_template("report.md.jinja2").render(given)
    )
    return folder / "report.html"


def metric_groups(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the metrics in groups, each with a cell for every arm; what no arm has is left out."""
    groups = []
    for title in GROUPS:
        rows = [
            {
                "name": show_name(name),
                "about": METRICS[name].about,
                "better": METRICS[name].better,
                "cells": [_cell(comparison, arm, name) for arm in comparison["arms"]],
            }
            for name in in_group(title)
            if any(name in of for of in comparison["arms"].values())
        ]
        if rows:
            groups.append({"title": title, "rows": rows})
    return groups


def _cell(told: Mapping[str, Any], arm: str, name: str) -> dict[str, Any] | None:
    """Give what a cell says: an arm's mean and its difference; None where the metric does not apply to it."""
    mean = told["arms"][arm].get(name)
    if not mean:
        return None
    found = told["contrasts"].get(arm, {}).get(name)
    differs = found is not None and found["difference"] is not None
    return {
        "mean": show_interval(mean["mean"], mean) if mean["mean"] is not None else "all missing",
        "n": mean["n"],
        "missing": mean["missing"],
        "difference": show_interval(found["difference"], found, "+") if differs else "",
        "chance": show_chance(found["p"]) if differs else "",
        "verdict": classify_difference(name, found),
    }


def slice_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give each slice's values with the arms' means in the first quality there is."""
    name = next((one for one in ("f1", *JUDGED) if any(
        one in of for of in comparison["arms"].values())), "correct_citation")  # fmt: skip
    return [
        {
            "slice": slice,
            "value": value,
            "questions": told["questions"],
            "metric": name,
            "cells": [_cell(told, arm, name) for arm in comparison["arms"]],
        }
        for slice, values in comparison["slices"].items()
        for value, told in values.items()
    ]


def distractor_rows(distractors: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give each arm's F1 by the number of distractors."""
    rows = []
    for arm, by_count in distractors.items():
        cells = []
        for count, of in by_count.items():
            mean = of["metrics"].get("f1")
            shown = show_interval(mean["mean"], mean) if mean and mean["mean"] is not None else "–"
            cells.append(
                {"count": count, "mean": shown, "n": mean["n"] if mean else 0, "failed": of["failed"]}
            )
        rows.append({"arm": arm, "cells": cells})
    return rows


def _environment(*, escape: bool) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "data_url": _data_url,
        "dollars": show_dollars_per_1000,
        "plain": plain,
        "mean": _mean,
        "name": show_name,
        "joined": lambda pieces: "".join(text for text, _ in pieces),
    }
    return environment


def plain(text: object) -> str:
    """Write any text so that Markdown shows it as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def _mean(mean: Mapping[str, Any]) -> str:
    return "–" if mean["mean"] is None else f"{show_interval(mean['mean'], mean)} n {mean['n']}"


def _data_url(plot: Plot) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(plot.svg.encode()).decode()


def _hash(script: str) -> str:
    """Give the hash by which a content security policy admits a script (W3C CSP level 3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
