"""Format the figures of a comparison for readers: means, intervals, differences, headlines, limitations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..metrics import JUDGED, METRICS


def show_name(metric: str) -> str:
    """Format a metric's name for readers."""
    return "F1" if metric == "f1" else metric.removeprefix("judge_").replace("_", " ")


def show_interval(value: float, interval: Mapping[str, Any], sign: str = "") -> str:
    """Format a value with its 95 % interval, with two decimals below 100."""
    digits = 2 if abs(value) < 100 else 0
    shown = f"{value:{sign}.{digits}f}"
    if interval["low"] is None:
        return shown
    return f"{shown} ({interval['low']:{sign}.{digits}f} to {interval['high']:{sign}.{digits}f})"


def show_mean(mean: Mapping[str, Any]) -> str:
    """Format a mean with its interval and its n."""
    return "–" if mean["mean"] is None else f"{show_interval(mean['mean'], mean)} n {mean['n']}"


def show_chance(p: float | None) -> str:
    """Format a p-value, as `p < 0.001` if it is below that."""
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p {p:.3f}"


def classify_difference(name: str, difference: Mapping[str, Any] | None) -> str:
    """Return "better" or "worse"; empty if the interval includes zero or neither direction is better."""
    if not difference or difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return ""
    better = METRICS[name].better
    if not better:
        return ""
    return "better" if (difference["low"] > 0) == (better == "higher") else "worse"


def show_dollars_per_1000(cost: Mapping[str, Any]) -> str:
    """Format the cost of 1000 questions, with that of hourly hosting."""
    dollars = cost["dollars_per_1000"]
    shown = "unknown" if dollars is None else f"${dollars:,.4f}" if dollars < 1 else f"${dollars:,.2f}"
    return f"{shown} + ${cost['hosting_hour']} per hour" if cost["hosting_hour"] else shown


def show_break_even(comparison: Mapping[str, Any]) -> list[str]:
    """Describe how each trained arm's cost compares with the baseline's, and when it has paid for itself."""
    lines = []
    for arm, result in comparison["break_even"].items():
        ratio = result["ratio"]
        if ratio is None:
            continue
        line = (
            f"{arm} costs {ratio:.1f} times less" if ratio >= 1 else f"{arm} costs {1 / ratio:.1f} times more"
        )
        line += f" per question than {comparison['baseline']}"
        spent = [
            f"{name} ${result[name]:,.2f}" for name in ("dataset", "training") if result[name] is not None
        ]
        if spent:
            line += f"; the cost ({', '.join(spent)}) is "
            line += (
                "never recovered"
                if result["questions"] is None
                else f"recovered after {result['questions']:,} questions"
            )
        lines.append(line)
    return lines


def find_headlines(comparison: Mapping[str, Any]) -> list[dict[str, str]]:
    """Summarise how each arm compares with the baseline, in the first quality metric that both have."""
    baseline = comparison["baseline"]
    headlines = []
    for arm, contrasts in comparison["contrasts"].items():
        for name in ("f1", "similarity", *JUDGED, "correct_citation"):
            contrast = contrasts.get(name)
            if not contrast or contrast["difference"] is None:
                continue
            mean, baseline_mean = comparison["arms"][arm][name], comparison["arms"][baseline][name]
            headlines.append(
                {
                    "arm": arm,
                    "metric": name,
                    "verdict": classify_difference(name, contrast) or "no clear difference",
                    "mean": show_interval(mean["mean"], mean),
                    "baseline_mean": show_interval(baseline_mean["mean"], baseline_mean),
                    "difference": show_interval(contrast["difference"], contrast, "+"),
                    "p": show_chance(contrast["p"]),
                    "pairs": str(contrast["pairs"]),
                }
            )
            break
    return headlines


def show_setup(settings: Mapping[str, Any]) -> str:
    """Describe in sentences what was compared: the questions or runs, the models, the documents."""
    models = ", ".join(f"{name} {model}" for name, model in settings["models"].items())
    judge = f"Judge: {settings['judge'] or 'none'}."
    if "runs" in settings:
        scored = ", ".join(
            f"{name} of {answers}" if answers else name for name, answers in settings["runs"].items()
        )
        return f"Evaluation runs: {scored}. Models: {models}. {judge}"
    return (
        f"Questions: {settings['questions']}. Models: {models}. {judge} {settings['k']} documents per "
        f"question, retrieved by {settings['mode']} search from {settings['index']['chunks']} chunks"
        f"{' and cut to their best sentences' if settings.get('focus') else ''}.{_show_constraints(settings)}"
    )


def _show_constraints(settings: Mapping[str, Any]) -> str:
    held = settings.get("quotes", "free") != "free"
    quotes = " Quotes are held to the sentences of the documents." if held else ""
    if settings.get("threshold") is None:
        return quotes
    return (
        f"{quotes} Questions whose documents hold an answer with a probability below "
        f"{settings['threshold']:.2f} are refused without asking a model."
    )


def _show_fairness(settings: Mapping[str, Any]) -> str:
    if "runs" not in settings:
        return (
            "All arms that see documents were given the same ones; "
            "decoding is greedy and the same for all arms."
        )
    different = settings["different_requests"]
    if different is None:
        return "Whether the models were given the same documents, prompts and settings is not recorded."
    if different:
        return (
            f"{different} questions were not put to all models with the same documents, prompts and settings."
        )
    return "Each question was put to all models with the same documents, prompt and settings (verbatim)."


def find_limits(comparison: Mapping[str, Any]) -> list[str]:
    """Return the limitations of the figures, in sentences."""
    settings = comparison["settings"]
    count = comparison["questions"]
    limits = [
        f"{count} questions; those about the same document are resampled together. The intervals reflect the "
        "random choice of questions, not other documents or another training run.",
        "Each metric is tested separately: of twenty metrics without a true difference, one is expected to "
        "appear significant.",
        _show_fairness(settings),
    ]
    if settings["judge"]:
        limits.append(
            f"Judged by {settings['judge']}. `python -m tools judge-check` measures its agreement with human "
            "labels; a judge may favour models of its own family."
        )
    else:
        limits.append(
            "No judge was used: correct answers worded differently from the gold answers count as wrong."
        )
    bounded = [
        f"{name} of {arm} {contrast['bounds'][0]:+.2f} to {contrast['bounds'][1]:+.2f}"
        for arm, contrasts in comparison["contrasts"].items()
        for name, contrast in contrasts.items()
        if contrast.get("bounds") and name in ("exact_match", "f1")
    ]
    if bounded:
        limits.append(
            "If every missing score were the worst for one arm and the best for the other, the differences "
            f"would be: {'; '.join(bounded)}."
        )
    seen = settings.get("seen_in_training")
    if seen:
        limits.append(f"Questions that are in the training rows: {seen}; answers to them prove nothing.")
    elif seen == 0:
        limits.append("None of the questions is in the training rows (compared verbatim).")
    else:
        limits.append("Whether the questions were held out of training is unknown (pass --dataset to check).")
    if not any(result["training"] for result in comparison["break_even"].values()):
        limits.append("The figures do not include the cost of training (pass --training-cost to add it).")
    return limits
