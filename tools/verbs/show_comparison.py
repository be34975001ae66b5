"""Print a comparison in the terminal: warnings first, then metrics, costs and distractors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.raft.evaluate.metrics import METRICS, WITHOUT_ORACLE
from tools.raft.evaluate.report.html import refusal_rows
from tools.raft.evaluate.report.text import show_break_even, show_chance, show_dollars_per_1000, show_interval
from tools.verbs.show_endpoints import show_endpoints

_WIDTH = 120  # of tables in output that is not a terminal


def show_comparison(
    comparison: Mapping[str, Any],
    report: Path,
    console: Console | None = None,
    *,
    endpoints: Mapping[str, Sequence[Mapping[str, Any]]] = MappingProxyType({}),
) -> None:
    """Print the tables; the last line says where the report is.

    endpoints: by role, what each of its endpoints did.
    """
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    for warning in comparison["warnings"]:
        console.print(f"Warning: {warning}.", style="red", markup=False)
    baseline = comparison["baseline"]
    console.print(_metrics(comparison))
    console.print(
        f"Means with 95 % intervals over {comparison['questions']} questions; below, the paired difference "
        f"from {baseline} with p of a sign-flip test. A smaller n: the rest is missing or not applicable."
    )
    console.print(_costs(comparison))
    for line in show_break_even(comparison):
        console.print(f"{line}.", markup=False)
    if any(by_count for by_count in comparison["distractors"].values()):
        console.print(_distractor_sweep(comparison["distractors"]))
    if comparison["refusals"]:
        console.print(_refusals(comparison["refusals"]))
    if comparison["without_oracle"]:
        console.print(_without_oracle(comparison["without_oracle"]))
    for role, accounts in endpoints.items():
        show_endpoints(accounts, console, title=f"Endpoints of {role}")
    console.print(
        f"Report: {comparison['questions']} questions, {len(comparison['arms'])} arms in {report}",
        soft_wrap=True,
    )


def _metrics(comparison: Mapping[str, Any]) -> Table:
    table = Table(show_lines=True)
    table.add_column("metric")
    for arm in comparison["arms"]:
        table.add_column(arm)
    for name in METRICS:
        cells, present = [], False
        for arm, metrics in comparison["arms"].items():
            mean = metrics.get(name)
            if not mean or mean["mean"] is None:
                cells.append("–" if not mean else f"all {mean['missing']} missing")
                continue
            present = True
            lines = [f"{show_interval(mean['mean'], mean)} n {mean['n']}"]
            if mean["missing"]:
                lines[0] += f", {mean['missing']} missing"
            contrast = comparison["contrasts"].get(arm, {}).get(name)
            if contrast and contrast["difference"] is not None:
                difference = show_interval(contrast["difference"], contrast, "+")
                lines.append(f"{difference} {show_chance(contrast['p'])}")
            cells.append("\n".join(lines))
        if present:
            table.add_row(name, *cells)
    return table


def _costs(comparison: Mapping[str, Any]) -> Table:
    table = Table("arm", "price of", "tokens in", "tokens out", "1000 questions")
    for arm, cost in comparison["costs"].items():
        tokens = [
            "–" if cost[name] is None else f"{cost[name]:.0f}"
            for name in ("prompt_tokens", "completion_tokens")
        ]
        table.add_row(arm, cost["priced_as"], *tokens, show_dollars_per_1000(cost))
    return table


def _distractor_sweep(distractors: Mapping[str, Any]) -> Table:
    counts = list(next(iter(distractors.values())))
    table = Table("f1, oracle and distractors", *[f"+{count}" for count in counts])
    for arm, by_count in distractors.items():
        cells = []
        for count in counts:
            mean = by_count[count]["metrics"].get("f1")
            cells.append(f"{mean['mean']:.2f} n {mean['n']}" if mean and mean["mean"] is not None else "–")
        table.add_row(arm, *cells)
    return table


def _refusals(refusals: Mapping[str, Any]) -> Table:
    table = Table(
        "refusals", "answerable, refused", "unanswerable, refused", "precision", "balanced accuracy"
    )
    for row in refusal_rows(refusals):
        table.add_row(row["arm"], row["wrongly"], row["rightly"], row["precision"], row["balanced"])
    return table


def _without_oracle(arms: Mapping[str, Any]) -> Table:
    table = Table("oracle removed", "n", *[name.replace("_", " ") for name in WITHOUT_ORACLE])
    for arm, result in arms.items():
        means = [result["metrics"].get(name) for name in WITHOUT_ORACLE]
        cells = [f"{mean['mean']:.2f}" if mean and mean["mean"] is not None else "–" for mean in means]
        table.add_row(arm, str(result["questions"]), *cells)
    return table
