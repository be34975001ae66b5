"""Write the report of a comparison: one self-contained HTML file, and the same as Markdown."""

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
    show_break_even,
    show_chance,
    show_dollars_per_1000,
    show_interval,
    show_mean,
    show_name,
    show_setup,
)

if TYPE_CHECKING:
    from .plots import Plot

TEMPLATES = Path(__file__).parent / "templates"
MAX_ROWS = 1000  # questions in the table of all answers; a page with more is slow to open
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~])")


def write_report(
    comparison: Mapping[str, Any],
    examples: Sequence[Example],
    table: Sequence[Mapping[str, Any]],
    folder: Path,
) -> Path:
    """Write report.html, report.md and its plots/*.svg into a folder; return the path of the HTML.

    `comparison` is what `compare` writes to comparison.json, `table` a row for each question with `question`,
    `golds`, `slices` and `replies` (arm, answer, score, error). The text of documents and models is escaped;
    the page's content security policy allows only its own script and loads nothing.
    """
    from .plots import draw_plots

    plots = draw_plots(comparison)
    context = {
        "comparison": comparison,
        "cases": examples,
        "table": list(table)[:MAX_ROWS],
        "left_out": max(0, len(table) - MAX_ROWS),
        "headlines": find_headlines(comparison),
        "setup": show_setup(comparison["settings"]),
        "limits": find_limits(comparison),
        "groups": metric_groups(comparison),
        "slices": slice_rows(comparison),
        "sweep": distractor_rows(comparison["distractors"]),
        "break_even": show_break_even(comparison),
        "refusals": refusal_rows(comparison["refusals"]),
        "plots": plots,
        "without_oracle_metrics": WITHOUT_ORACLE,
    }
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    for plot in plots:
        write_text(folder / "plots" / f"{plot.name}.svg", plot.svg)
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    page = open_templates(TEMPLATES, escape=True).get_template("report.html.jinja2")
    write_text(
        folder / "report.html",
        page.render(context, script=script, script_hash=_script_hash(script), style=style),
    )
    write_text(
        folder / "report.md",
        open_templates(TEMPLATES, escape=False).get_template("report.md.jinja2").render(context),
    )
    return folder / "report.html"


def metric_groups(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics by group, each with a cell for every arm; metrics that no arm has are left out."""
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
            if any(name in metrics for metrics in comparison["arms"].values())
        ]
        if rows:
            groups.append({"title": title, "rows": rows})
    return groups


def _cell(results: Mapping[str, Any], arm: str, name: str) -> dict[str, Any] | None:
    """Return a cell with an arm's mean and difference; None if the metric does not apply to the arm."""
    mean = results["arms"][arm].get(name)
    if not mean:
        return None
    contrast = results["contrasts"].get(arm, {}).get(name)
    compared = contrast is not None and contrast["difference"] is not None
    return {
        "mean": show_interval(mean["mean"], mean) if mean["mean"] is not None else "all missing",
        "n": mean["n"],
        "missing": mean["missing"],
        "difference": show_interval(contrast["difference"], contrast, "+") if compared else "",
        "p": show_chance(contrast["p"]) if compared else "",
        "verdict": classify_difference(name, contrast),
    }


def slice_rows(comparison: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each value of each slice, with the arms' means in F1 or else another metric."""
    arms = comparison["arms"].values()
    name = next(
        (name for name in ("f1", *JUDGED) if any(name in metrics for metrics in arms)), "correct_citation"
    )
    return [
        {
            "slice": slice,
            "value": value,
            "questions": results["questions"],
            "metric": name,
            "cells": [_cell(results, arm, name) for arm in comparison["arms"]],
        }
        for slice, values in comparison["slices"].items()
        for value, results in values.items()
    ]


def distractor_rows(distractors: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each arm with its F1 by number of distractors."""
    rows = []
    for arm, by_count in distractors.items():
        cells = []
        for count, results in by_count.items():
            mean = results["metrics"].get("f1")
            shown = show_interval(mean["mean"], mean) if mean and mean["mean"] is not None else "–"
            cells.append(
                {"count": count, "mean": shown, "n": mean["n"] if mean else 0, "failed": results["failed"]}
            )
        rows.append({"arm": arm, "cells": cells})
    return rows


def refusal_rows(refusals: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a row for each arm that was asked answerable and unanswerable questions."""
    return [
        {
            "arm": arm,
            "wrongly": show_mean(result["refused_wrongly"]),
            "rightly": show_mean(result["refused_rightly"]),
            "precision": "–" if result["precision"] is None else f"{result['precision']:.2f}",
            "balanced": f"{result['balanced_accuracy']:.2f}",
        }
        for arm, result in refusals.items()
    ]


def open_templates(folder: Path, *, escape: bool) -> Any:
    """Return the Jinja environment of the templates in a folder, for HTML with everything escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(folder),
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
        "mean": show_mean,
        "name": show_name,
        "joined": lambda pieces: "".join(text for text, _ in pieces),
    }
    return environment


def plain(text: object) -> str:
    """Escape a text so that Markdown shows it literally, on one line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(str(text).split()), quote=False))


def _data_url(plot: Plot) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(plot.svg.encode()).decode()


def _script_hash(script: str) -> str:
    """Compute the hash by which a content security policy allows a script (W3C CSP level 3)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
