"""The registry of metrics: what each one means, where the report shows it, and averages over many answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from ..errors import UserError

# A metric that is absent does not apply to the row; None means that it applies but its value is missing.
Scores = dict[str, float | None]

Group = Literal["Correctness", "Judge scores, 1 to 5", "Format and quotes", "Refusals", "Length and latency"]
GROUPS: tuple[Group, ...] = (
    "Correctness", "Judge scores, 1 to 5", "Format and quotes", "Refusals", "Length and latency",
)  # fmt: skip


class Metric(NamedTuple):
    """What a number means, and where it is shown. Reports show only the metrics in METRICS."""

    name: str
    group: Group  # in the report's tables and in the plot, which list metrics in this order
    about: str
    better: Literal["higher", "lower", ""]
    low: float | None = 0.0  # its bounds; None for no bound
    high: float | None = 1.0
    plotted: bool = False
    key: bool = False  # also computed for each slice and in the distractor sweep
    without_oracle: int = 0  # column in the table of the run without the oracle, from 1; 0 for none
    judged: bool = False  # needs a judge: prompts/judge_NAME.jinja2, `about` summarises its rubric


def _judged(name: str, about: str) -> Metric:
    return Metric(
        f"judge_{name}", "Judge scores, 1 to 5", f"{about} (judge, 1 to 5)", "higher", 1, 5,
        plotted=True, key=True, judged=True,
    )  # fmt: skip


METRICS = {
    metric.name: metric
    for metric in (
        Metric("exact_match", "Correctness", "the answer matches a gold answer exactly (SQuAD)", "higher",
               plotted=True, key=True, without_oracle=1),
        Metric("f1", "Correctness", "token F1 against the closest gold answer (SQuAD)", "higher",
               plotted=True, key=True, without_oracle=2),
        Metric("tagged", "Format and quotes", "the reply has an <ANSWER> line", "higher", plotted=True),
        Metric("quoted", "Format and quotes", "the reply contains a quote", "higher",
               plotted=True, without_oracle=4),
        Metric("quotes_verbatim", "Format and quotes", "share of the quotes found verbatim in a document",
               "higher", plotted=True, key=True, without_oracle=5),
        Metric("oracle_quoted", "Format and quotes", "share of the verbatim quotes taken from the oracle",
               "higher", plotted=True),
        Metric("distractor_quoted", "Format and quotes", "a verbatim quote comes from a distractor", "lower",
               without_oracle=6),
        Metric("correct_citation", "Format and quotes", "the reply has verbatim quotes, all from the oracle",
               "higher", plotted=True, key=True),
        Metric("correct_refusal", "Refusals", "no answer is given if the documents contain none", "higher",
               plotted=True, without_oracle=3),
        Metric("false_refusal", "Refusals", "no answer is given although there is one", "lower",
               plotted=True, key=True),
        Metric("similarity", "Correctness", "cosine of the embeddings of answer and closest gold answer",
               "higher", -1.0, plotted=True),
        Metric("answer_words", "Length and latency", "words in the final answer", "", 0.0, None),
        Metric("reply_words", "Length and latency", "words in the whole reply", "", 0.0, None),
        Metric("prompt_tokens", "Length and latency", "tokens in the prompt", "lower", 0.0, None),
        Metric("completion_tokens", "Length and latency", "tokens generated", "lower", 0.0, None),
        Metric("seconds", "Length and latency", "seconds until the reply was complete", "lower", 0.0, None),
        _judged("similarity", "the answer means the same as the gold answer"),
        _judged("groundedness", "the documents support the answer"),
        _judged("relevance", "the answer addresses the question"),
        _judged("coherence", "the reply is consistent from start to end"),
        _judged("fluency", "the reply is well written"),
    )
}  # fmt: skip

UNJUDGED = [metric.name for metric in METRICS.values() if not metric.judged]
JUDGED = [metric.name for metric in METRICS.values() if metric.judged]
JUDGEMENTS = [name.removeprefix("judge_") for name in JUDGED]  # as in the file names of the judge's prompts
KEY = [metric.name for metric in METRICS.values() if metric.key]
WITHOUT_ORACLE = [
    metric.name
    for metric in sorted(METRICS.values(), key=lambda metric: metric.without_oracle)
    if metric.without_oracle
]


def in_group(group: Group, *, plotted: bool = False) -> list[str]:
    """Return the names of a group's metrics in order; with `plotted`, only those that are plotted."""
    return [
        metric.name
        for metric in METRICS.values()
        if metric.group == group and (metric.plotted or not plotted)
    ]


def check_metrics(names: Iterable[str], known: Iterable[str] = UNJUDGED) -> set[str]:
    """Return the names as a set; raises UserError for an unknown name, listing the known ones."""
    wanted, known = set(names), list(known)
    if unknown := sorted(wanted.difference(known)):
        raise UserError(f"unknown metric {unknown[0]!r}: choose one of {', '.join(known)}")
    return wanted


def choose_metrics(text: str) -> dict[str, bool]:
    """Parse a selection of metrics: names with commas, `all` that need no judge, `judge` for all that do.

    Returns whether each metric is wanted, and under `judge` whether any of the judge's is. Raises UserError
    for an unknown name.
    """
    names = [name for name in re.split(r"[,;\s]+", text) if name]
    wanted = check_metrics(set(names) - {"all", "judge"}, METRICS)
    wanted |= set(UNJUDGED) if "all" in names or not names else set()
    wanted |= set(JUDGED) if "judge" in names else set()
    return {**{name: name in wanted for name in METRICS}, "judge": not wanted.isdisjoint(JUDGED)}


def chosen_judgements(chosen: Mapping[str, bool]) -> list[str]:
    """Return the names of the judgements among the chosen metrics."""
    return [name for name in JUDGEMENTS if chosen.get(f"judge_{name}")]


def average_metrics(scores: Sequence[Scores], lines: int = 0) -> dict[str, float]:
    """Average each metric over the answers that have it: `f1`, beside it `f1.n` and `f1.missing`.

    `missing` counts scores that are None, and those of the `lines` that failed and have no scores. A metric
    that is missing everywhere has no average. An answer to which it does not apply counts as neither.
    """
    failed = max(0, lines - len(scores))
    metrics: dict[str, float] = {"answers": len(scores), "answers.missing": failed}
    for name in METRICS:
        values = [row[name] for row in scores if name in row]
        if not values:
            continue
        present = [value for value in values if value is not None]
        if present:
            metrics[name] = sum(present) / len(present)
        metrics[f"{name}.n"] = len(present)
        metrics[f"{name}.missing"] = len(values) - len(present) + failed
    return metrics
