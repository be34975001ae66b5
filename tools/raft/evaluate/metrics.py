"""The registry of metrics: what each one means, where the report shows it, and averages over many answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from ..errors import UserError

# A metric that is not there does not apply to the row; None is one that should be there and is missing.
Scores = dict[str, float | None]

Group = Literal["Right answers", "By the judge, 1 to 5", "Form and quotes", "Refusals", "Effort"]
GROUPS: tuple[Group, ...] = (
    "Right answers", "By the judge, 1 to 5", "Form and quotes", "Refusals", "Effort",
)  # fmt: skip


class Metric(NamedTuple):
    """What a number means, and where it is shown. A metric that is not in METRICS is in no report."""

    name: str
    group: Group  # of the report's tables and of the plot, in their order
    about: str
    better: Literal["higher", "lower", ""]
    low: float | None = 0.0  # the least and the greatest it can be; None where there is no bound
    high: float | None = 1.0
    plotted: bool = False
    key: bool = False  # also computed for each slice, and as distractors grow
    without_oracle: int = 0  # place among the columns of the run without oracle; 0 for none
    judged: bool = False  # needs a judge: prompts/judge_NAME.jinja2, `about` its rubric in a few words


def _judged(name: str, about: str) -> Metric:
    return Metric(
        f"judge_{name}", "By the judge, 1 to 5", f"{about} (judge, 1 to 5)", "higher", 1, 5,
        plotted=True, key=True, judged=True,
    )  # fmt: skip


METRICS = {
    metric.name: metric
    for metric in (
        Metric("exact_match", "Right answers", "the answer is a gold answer, word for word (SQuAD)", "higher",
               plotted=True, key=True, without_oracle=1),
        Metric("f1", "Right answers", "token F1 with the closest gold answer (SQuAD)", "higher",
               plotted=True, key=True, without_oracle=2),
        Metric("tagged", "Form and quotes", "the reply has its <ANSWER> line", "higher", plotted=True),
        Metric("quoted", "Form and quotes", "the reply quotes something", "higher",
               plotted=True, without_oracle=4),
        Metric("quotes_verbatim", "Form and quotes",
               "share of its quotes that stand in a document word for word", "higher",
               plotted=True, key=True, without_oracle=5),
        Metric("oracle_quoted", "Form and quotes", "share of the verbatim quotes that are from the oracle",
               "higher", plotted=True),
        Metric("distractor_quoted", "Form and quotes", "something is quoted from a distractor", "lower",
               without_oracle=6),
        Metric("correct_citation", "Form and quotes", "there are verbatim quotes, all of them from the oracle",
               "higher", plotted=True, key=True),
        Metric("correct_refusal", "Refusals", "no answer is given where the documents hold none", "higher",
               plotted=True, without_oracle=3),
        Metric("false_refusal", "Refusals", "no answer is given where there is one", "lower",
               plotted=True, key=True),
        Metric("similarity", "Right answers", "cosine of the embeddings of answer and closest gold answer",
               "higher", -1.0, plotted=True),
        Metric("answer_words", "Effort", "words of the final answer", "", 0.0, None),
        Metric("reply_words", "Effort", "words of the whole reply", "", 0.0, None),
        Metric("prompt_tokens", "Effort", "tokens sent", "lower", 0.0, None),
        Metric("completion_tokens", "Effort", "tokens written", "lower", 0.0, None),
        Metric("seconds", "Effort", "seconds until the reply was there", "lower", 0.0, None),
        _judged("similarity", "the answer says what the gold answer says"),
        _judged("groundedness", "the documents bear out the answer"),
        _judged("relevance", "the answer answers the question"),
        _judged("coherence", "the reply holds together"),
        _judged("fluency", "the reply is well written"),
    )
}  # fmt: skip

UNJUDGED = [metric.name for metric in METRICS.values() if not metric.judged]
JUDGED = [metric.name for metric in METRICS.values() if metric.judged]
JUDGEMENTS = [name.removeprefix("judge_") for name in JUDGED]  # as the judge's prompts are named
KEY = [metric.name for metric in METRICS.values() if metric.key]
WITHOUT_ORACLE = [
    metric.name
    for metric in sorted(METRICS.values(), key=lambda metric: metric.without_oracle)
    if metric.without_oracle
]


def in_group(group: Group, *, plotted: bool = False) -> list[str]:
    """Name the metrics of a group in their order, or only those that are plotted."""
    return [
        metric.name
        for metric in METRICS.values()
        if metric.group == group and (metric.plotted or not plotted)
    ]


def check_metrics(names: Iterable[str], known: Iterable[str] = UNJUDGED) -> set[str]:
    """Check that metrics are known by these names; raises UserError with those that are."""
    wanted, known = set(names), list(known)
    if unknown := sorted(wanted.difference(known)):
        raise UserError(f"there is no metric {unknown[0]!r}: known are {', '.join(known)}")
    return wanted


def choose_metrics(text: str) -> dict[str, bool]:
    """Read which metrics a user wants: names with commas, `all` that need no judge, `judge` for all that do.

    Returns for every metric whether it is wanted, and under `judge` whether any of the judge's is. Raises
    UserError for an unknown name.
    """
    named = [name for name in re.split(r"[,;\s]+", text) if name]
    wanted = check_metrics(set(named) - {"all", "judge"}, METRICS)
    wanted |= set(UNJUDGED) if "all" in named or not named else set()
    wanted |= set(JUDGED) if "judge" in named else set()
    return {**{name: name in wanted for name in METRICS}, "judge": not wanted.isdisjoint(JUDGED)}


def chosen_judgements(chosen: Mapping[str, bool]) -> list[str]:
    """Name the judgements among the chosen metrics."""
    return [name for name in JUDGEMENTS if chosen.get(f"judge_{name}")]


def average_metrics(scores: Sequence[Scores], lines: int = 0) -> dict[str, float]:
    """Average each metric over the answers that have it: `f1`, beside it `f1.n` and `f1.missing`.

    Missing are scores that are None, and those of `lines` that are not among the scores because they
    failed. A metric that is missing everywhere has no average. Where one does not apply, it is neither.
    """
    lost = max(0, lines - len(scores))
    metrics: dict[str, float] = {"answers": len(scores), "answers.missing": lost}
    for name in METRICS:
        values = [row[name] for row in scores if name in row]
        if not values:
            continue
        present = [value for value in values if value is not None]
        if present:
            metrics[name] = sum(present) / len(present)
        metrics[f"{name}.n"] = len(present)
        metrics[f"{name}.missing"] = len(values) - len(present) + lost
    return metrics
