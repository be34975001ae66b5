"""Compare batch runs that promptflow made of the evaluation flow: no question is asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..models.pricing import Price
from ..records import content_id
from .batch_runs import Line, read_lines
from .cost import cost_arm
from .metrics import JUDGED, Scores
from .refusals import summarise_refusals
from .results import ComparisonResult, Results, recover_costs, warn_of_seen
from .score import Gold, from_oracle, read_gold, score_answer
from .trained_on import read_trained_on

# The inputs of an evaluation that describe the answer, and some of those that describe its question.
_ANSWER = {"answer": "", "reasoning": "", "citations": (), "answered": True, "note": ""}
_DOCUMENT = {"id": "", "title": "", "source": "", "page": None, "text": ""}
_GOLD = ("relevant", "oracles", "language", "answerable")

Row = dict[str, Any]
Key = tuple[str, int]  # a question, and how often it occurred before


@dataclass(frozen=True)
class ScoredRun:
    """A run of the evaluation flow, and the run whose answers it scored, if there is one."""

    name: str
    evaluation: Path
    answers: Path | None = None


@dataclass
class _Arm:
    """What a run says about each question."""

    rows: dict[Key, Row]
    golds: dict[Key, Gold | None]  # None: unknown, as the line was not scored
    scores: dict[Key, Scores]
    model: str = ""
    judge: str = ""


def compare_runs(
    runs: Sequence[ScoredRun],
    out: Path,
    *,
    prices: Mapping[str, Price],
    price_names: Sequence[str] = (),
    dataset: Path | None = None,
    training_cost: float | None = None,
    seed: int = 42,
) -> ComparisonResult:
    """Compare the scores of runs, baseline first; scores, comparison.json and the report go to `out`.

    Questions are matched by their text; a line that failed counts as missing. price_names: for each run its
    name in the price table, if not the model's. dataset: what the tuned models were trained on. Raises
    UserError if a run is not one of the evaluation flow, or if the runs are not about the same questions.
    """
    if len({run.name for run in runs}) != len(runs) or len(runs) < 2:
        raise UserError("a comparison needs two runs of the evaluation flow with different names")
    trained_on = read_trained_on(dataset)
    arms = {run.name: _read_arm(run) for run in runs}
    keys = _common_questions(arms)
    golds = {key: _common_gold(key, arms) for key in keys}
    for arm in arms.values():
        _score_failures(arm, golds)
    documents: list[list[Row]] = [
        next((arm.rows[key]["documents"] for arm in arms.values() if arm.rows[key]["documents"]), [])
        for key in keys
    ]
    results = Results(
        [content_id("question", f"{text} {number}") for text, number in keys],
        [_question(key, golds[key], found) for key, found in zip(keys, documents, strict=True)],
        [golds[key] for key in keys],
        {name: [arm.rows[key] for key in keys] for name, arm in arms.items()},
        {name: [arm.scores[key] for key in keys] for name, arm in arms.items()},
    )
    price_of = dict(zip(arms, price_names, strict=False))
    costs = {
        name: cost_arm(results.answers[name], price_of.get(name) or arm.model, prices)
        for name, arm in arms.items()
    }
    seen = trained_on.count(results.questions)
    different = _count_different_requests(list(arms.values()), keys)
    comparison = {
        **results.compare(documents, seed),
        "costs": costs,
        "break_even": recover_costs(
            costs, list(arms)[1:], dataset=trained_on.dollars, training=training_cost
        ),
        "distractors": {},
        "refusals": summarise_refusals(
            {
                name: list(zip(answers, results.golds, strict=True))
                for name, answers in results.answers.items()
            },
            seed=seed,
        ),
        "without_oracle": {},
        "settings": {
            "runs": {run.name: run.answers.name if run.answers else None for run in runs},
            "seed": seed,
            "models": {name: arm.model or "unknown" for name, arm in arms.items()},
            "judge": next((arm.judge for arm in arms.values() if arm.judge), None),
            "seen_in_training": seen,
            "different_requests": different,
        },
    }
    comparison["warnings"] += warn_of_seen(seen, len(keys))
    if different:
        comparison["warnings"].append(
            f"{different} of the {len(keys)} questions were put to the models with different documents, "
            "prompts or settings: the models are not the only difference"
        )
    report = results.write(comparison, out)
    return ComparisonResult(comparison, report, not any(results.errors.values()))


def difference_metrics(comparison: Mapping[str, Any]) -> dict[str, float]:
    """Return for each metric NAME the means as NAME.RUN, and for each but the first run NAME.RUN.difference.

    That is the paired difference from the first run. Beside it stand the ends `low` and `high` of its 95 %
    interval, `p`, the number of `pairs`, and `missing`, the number of pairs that lack a score.
    """
    metrics = {
        f"{name}.{run}": mean["mean"]
        for run, means in comparison["arms"].items()
        for name, mean in means.items()
    }
    for run, contrasts in comparison["contrasts"].items():
        for name, contrast in contrasts.items():
            for field in ("difference", "low", "high", "p", "pairs", "missing"):
                metrics[f"{name}.{run}.{field}"] = contrast[field]
    return {name: float(value) for name, value in sorted(metrics.items()) if value is not None}


def _read_arm(run: ScoredRun) -> _Arm:
    """Read a run's answers and scores; a line that failed in either run has its reason in `error`."""
    scored = read_lines(run.evaluation)
    if not any("scores" in line.outputs for line in scored.values()):
        raise UserError(f"{run.name} is not a run of flows/evaluate: none of its lines has scores")
    answered = read_lines(run.answers) if run.answers else {}
    arm = _Arm({}, {}, {})
    seen: Counter[str] = Counter()
    for number in sorted({*scored, *answered}):
        evaluation, chat = scored.get(number), answered.get(number)
        question = str((evaluation or answered[number]).inputs.get("question", ""))
        key = (question, seen[question])
        seen[question] += 1
        row = arm.rows[key] = _row(question, evaluation, chat)
        arm.golds[key] = _read_line_gold(evaluation.inputs) if evaluation else None
        if evaluation and not row["error"]:
            arm.scores[key] = {**evaluation.outputs["scores"], **_measured(row)}
            if any(name in JUDGED for name in arm.scores[key]):
                arm.judge = evaluation.model or arm.judge or "a model that is not recorded"
        arm.model = (chat.model if chat else "") or arm.model
    return arm


def _row(question: str, evaluation: Line | None, chat: Line | None) -> Row:
    """Build the row of an answer as `answer_questions` does."""
    inputs = evaluation.inputs if evaluation else {}
    error = chat.error if chat else ""
    if not error and evaluation is None:
        error = "it was not scored"
    elif not error and evaluation is not None and evaluation.error:
        error = f"it could not be scored: {evaluation.error}"
    documents = (chat.documents if chat else None) or inputs.get("documents")
    return {
        "question": question,
        **{name: inputs.get(name, default) for name, default in _ANSWER.items()},
        "documents": [{**_DOCUMENT, **document} for document in documents or ()],
        "error": error,
        "requests": chat.requests if chat else [],
        "prompt_tokens": chat.prompt_tokens if chat else 0,
        "completion_tokens": chat.completion_tokens if chat else 0,
        "seconds": chat.seconds if chat else None,
    }


def _measured(row: Row) -> Scores:
    """Return what the run measured of an answer, if it did."""
    names = ("prompt_tokens", "completion_tokens", "seconds")
    return {name: float(row[name]) for name in names if row[name]}


def _read_line_gold(inputs: Row) -> Gold:
    gold = {name: inputs[name] for name in _GOLD if name in inputs}
    return read_gold({**gold, "answers": inputs.get("golds") or inputs.get("gold") or ""})


def _common_questions(arms: Mapping[str, _Arm]) -> list[Key]:
    """Return the questions in the order of the first run; raise UserError unless every run has them all."""
    first = next(iter(arms))
    pairs = [pair for name in arms if name != first for pair in ((first, name), (name, first))]
    for has, lacks in pairs:
        if missing := arms[has].rows.keys() - arms[lacks].rows.keys():
            raise UserError(
                f"{len(missing)} questions of {has} are not in {lacks}, such as {min(missing)[0]!r}: "
                "make both runs with the same data, to the end"
            )
    return list(arms[first].rows)


def _common_gold(key: Key, arms: Mapping[str, _Arm]) -> Gold:
    """Return the gold data of a question; raise UserError if runs were scored against different ones."""
    known = {gold for arm in arms.values() if (gold := arm.golds[key]) is not None}
    if len(known) > 1:
        raise UserError(
            f"{' and '.join(arms)} were scored against different gold data for {key[0]!r}: "
            "evaluate both with the same data"
        )
    return known.pop() if known else Gold()


def _score_failures(arm: _Arm, golds: Mapping[Key, Gold]) -> None:
    """Mark the metrics of answers that failed as missing, as far as the run has these metrics."""
    metrics = {name for scores in arm.scores.values() for name in scores}
    for key, row in arm.rows.items():
        if key not in arm.scores:
            names = (*score_answer(row, golds[key]), *JUDGED, "similarity")
            arm.scores[key] = {name: None for name in names if name in metrics}


def _question(key: Key, gold: Gold, documents: Sequence[Row]) -> Row:
    """Build a question's row; its source is known if its oracle was retrieved."""
    sources = (document["source"] for document in documents if from_oracle(document, gold))
    return {"question": key[0], "source": next(sources, None)}


def _count_different_requests(arms: Sequence[_Arm], keys: Sequence[Key]) -> int | None:
    """Count the questions that were not put to all models in the same way; None if that is not recorded."""
    recorded = different = 0
    for key in keys:
        requests = [arm.rows[key]["requests"] for arm in arms if not arm.rows[key]["error"]]
        if len(requests) == len(arms) and all(requests):
            recorded += 1
            different += any(other != requests[0] for other in requests[1:])
    return different if recorded else None
