"""Show a comparison in the terminal: what must be known first, then metrics, costs, distractors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.raft.average import KNOWN

_WIDTH = 120  # of a table that goes into a file


def show_comparison(comparison: Mapping[str, Any], path: Path, console: Console | None = None) -> None:
    """Print the tables; the last line says where the comparison is."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _WIDTH)
    for warning in comparison["warnings"]:
        console.print(f"Mind: {warning}.", style="red", markup=False)
    baseline = comparison["baseline"]
    console.print(_metrics(comparison))
    console.print(
        f"Means with 95 % intervals over {comparison['questions']} questions; below, the paired difference "
        f"from {baseline}, and p of a sign-flip test. Where n differs, the rest is missing or does not apply."
    )
    console.print(_costs(comparison))
    for arm, back in comparison["pay_back"].items():
        if back["ratio"] is not None:
            line = f"{arm}: {back['ratio']:.1f} × cheaper a question than {baseline}"
            if back["questions"] is not None:
                line += f"; dataset and training are paid for after {back['questions']:,} questions"
            console.print(line)
    if any(by_count for by_count in comparison["distractors"].values()):
        console.print(_ladder(comparison["distractors"]))
    console.print(f"Comparison: {comparison['questions']} questions in {path}", soft_wrap=True)


def _metrics(comparison: Mapping[str, Any]) -> Table:
    table = Table(show_lines=True)
    table.add_column("metric")
    for arm in comparison["arms"]:
        table.add_column(arm)
    for name in KNOWN:
        cells, some = [], False
        for arm, metrics in comparison["arms"].items():
            mean = metrics.get(name)
            if not mean or mean["mean"] is None:
                cells.append("–" if not mean else f"all {mean['missing']} missing")
                continue
            some = True
            lines = [f"{_interval(mean['mean'], mean)} n {mean['n']}"]
            if mean["missing"]:
                lines[0] += f", {mean['missing']} missing"
            found = comparison["contrasts"].get(arm, {}).get(name)
            if found and found["difference"] is not None:
                lines.append(f"{_interval(found['difference'], found, '+')} p {found['p']:.3f}")
            cells.append("\n".join(lines))
        if some:
            table.add_row(name, *cells)
    return table


def _costs(comparison: Mapping[str, Any]) -> Table:
    table = Table("arm", "price of", "tokens in", "tokens out", "dollars per 1000 questions")
    for arm, cost in comparison["costs"].items():
        money = cost["dollars_per_1000"]
        shown = "unknown" if money is None else f"{money:,.4f}"
        if cost["hosting_hour"]:
            shown += f" + {cost['hosting_hour']} an hour"
        tokens = [
            "–" if cost[name] is None else f"{cost[name]:.0f}"
            for name in ("prompt_tokens", "completion_tokens")
        ]
        table.add_row(arm, cost["priced_as"], *tokens, shown)
    return table


def _ladder(distractors: Mapping[str, Any]) -> Table:
    counts = list(next(iter(distractors.values())))
    table = Table("f1, oracle and distractors", *[f"+{count}" for count in counts])
    for arm, by_count in distractors.items():
        cells = []
        for count in counts:
            mean = by_count[count]["metrics"].get("f1")
            cells.append(f"{mean['mean']:.2f} n {mean['n']}" if mean and mean["mean"] is not None else "–")
        table.add_row(arm, *cells)
    return table


def _interval(value: float, of: Mapping[str, Any], sign: str = "") -> str:
    digits = 2 if abs(value) < 100 else 0
    shown = f"{value:{sign}.{digits}f}"
    if of["low"] is None:
        return shown
    return f"{shown} ({of['low']:{sign}.{digits}f} to {of['high']:{sign}.{digits}f})"
