"""Write the figures of a comparison for people: means, intervals, differences, what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..metrics import JUDGED, METRICS


def show_name(metric: str) -> str:
    """Write a metric's name for people."""
    return "F1" if metric == "f1" else metric.removeprefix("judge_").replace("_", " ")


def show_interval(value: float, of: Mapping[str, Any], sign: str = "") -> str:
    """Write a value with its 95 % interval, two decimals below 100."""
    digits = 2 if abs(value) < 100 else 0
    shown = f"{value:{sign}.{digits}f}"
    if of["low"] is None:
        return shown
    return f"{shown} ({of['low']:{sign}.{digits}f} to {of['high']:{sign}.{digits}f})"


def show_chance(p: float | None) -> str:
    """Write a p value; what is below a thousandth is said to be."""
    if p is None:
        return "p not known"
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def classify_difference(name: str, difference: Mapping[str, Any] | None) -> str:
    """Say whether a difference is "better" or "worse"; empty where it may be zero or no side is better."""
    if not difference or difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return ""
    better = METRICS[name].better
    if not better:
        return ""
    return "better" if (difference["low"] > 0) == (better == "higher") else "worse"


def show_dollars_per_1000(cost: Mapping[str, Any]) -> str:
    """Write what 1000 questions cost, hosting by the hour beside it."""
    money = cost["dollars_per_1000"]
    shown = "unknown" if money is None else f"${money:,.4f}" if money < 1 else f"${money:,.2f}"
    return f"{shown} + ${cost['hosting_hour']} an hour" if cost["hosting_hour"] else shown


def show_break_even(comparison: Mapping[str, Any]) -> list[str]:
    """Say of each trained arm how its costs compare with the baseline's, and when it has paid for itself."""
    told = []
    for arm, back in comparison["break_even"].items():
        if back["ratio"] is None:
            continue
        ratio = back["ratio"]
        line = (
            f"{arm} costs {ratio:.1f} times less" if ratio >= 1 else f"{arm} costs {1 / ratio:.1f} times more"
        )
        line += f" a question than {comparison['baseline']}"
        if back["dataset"] is not None or back["training"] is not None:
            spent = [
                f"{name} ${back[name]:,.2f}" for name in ("dataset", "training") if back[name] is not None
            ]
            line += f"; {' and '.join(spent)} "
            line += (
                "are never paid back"
                if back["questions"] is None
                else f"are paid back after {back['questions']:,} questions"
            )
        told.append(line)
    return told


def find_headlines(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """Say of each arm in one line how it did beside the baseline, in the first quality that both have."""
    baseline = comparison["baseline"]
    told = []
    for arm, contrasts in comparison["contrasts"].items():
        for name in ("f1", "similarity", *JUDGED, "correct_citation"):
            found = contrasts.get(name)
            if not found or found["difference"] is None:
                continue
            verdict = classify_difference(name, found)
            ours, theirs = comparison["arms"][arm][name], comparison["arms"][baseline][name]
            told.append(
                {
                    "arm": arm,
                    "metric": name,
                    "verdict": verdict or "no difference shown",
                    "ours": show_interval(ours["mean"], ours),
                    "theirs": show_interval(theirs["mean"], theirs),
                    "difference": show_interval(found["difference"], found, "+"),
                    "chance": show_chance(found["p"]),
                    "pairs": str(found["pairs"]),
                }
            )
            break
    return told


def find_limits(comparison: Mapping[str, Any]) -> list[str]:
    """Say in sentences what the figures do not tell."""
    settings = comparison["settings"]
    count = comparison["questions"]
    told = [
        f"{count} questions, drawn together where they are about one document. An interval says what "
        "chance in the choice of questions does; not what other documents or another training would.",
        "Every metric is tested by itself: of twenty true zeros one is expected to be told apart.",
        "All arms that see documents got the same ones; decoding is greedy and the same for all.",
    ]
    if settings["judge"]:
        told.append(
            f"Judged by {settings['judge']}. How far it agrees with people is what "
            "`python -m tools judge-check` says; a judge of the family of an arm's model may favour it."
        )
    else:
        told.append("No judge was asked: right answers in other words than the gold answers count as wrong.")
    bounded = [
        f"{name} of {arm} {found['bounds'][0]:+.2f} to {found['bounds'][1]:+.2f}"
        for arm, contrasts in comparison["contrasts"].items()
        for name, found in contrasts.items()
        if found.get("bounds") and name in ("exact_match", "f1")
    ]
    if bounded:
        told.append("Had all that is missing been worst for one arm and best for the other, the differences "
                    f"would be: {'; '.join(bounded)}.")  # fmt: skip
    seen = settings.get("seen_in_training")
    if seen:
        told.append(f"{seen} of the questions stand in the training rows: what is learnt there is no proof.")
    elif seen == 0:
        told.append("None of the questions stands in the training rows (compared word for word).")
    else:
        told.append(
            "Whether the questions were kept out of training is not known here (name --dataset to check)."
        )
    if not any(back["training"] for back in comparison["break_even"].values()):
        told.append("What the training cost is not in the figures (--training-cost says it).")
    return told
