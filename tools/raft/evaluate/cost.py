"""Say what each arm costs to ask, and after how many questions a training has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ..models.pricing import Price, dollars, find_price


class ArmCost(TypedDict):
    """What an arm's answers came to."""

    priced_as: str  # the name in the price table
    measured: int  # answers whose tokens the endpoint told
    unmeasured: int
    prompt_tokens: float | None  # a question, on average
    completion_tokens: float | None
    dollars_per_1000: float | None  # questions; None where price or tokens are not known
    hosting_hour: float | None  # dollars, beside the tokens


class BreakEven(TypedDict):
    """The price of having trained, and what comes back."""

    dataset: float | None
    training: float | None
    ratio: float | None  # how many times cheaper the trained arm answers
    saved_per_1000: float | None
    questions: int | None  # after which it has paid for itself; None: never, or not known


def cost_arm(rows: Sequence[Mapping[str, Any]], model: str, prices: Mapping[str, Price]) -> ArmCost:
    """Price an arm's measured tokens; answers that failed cost nothing here and are not in the mean."""
    answered = [row for row in rows if not row["error"]]
    measured = [row for row in answered if row["prompt_tokens"]]
    price = find_price(model, prices)
    cost: ArmCost = {
        "priced_as": price.name if price else model,
        "measured": len(measured),
        "unmeasured": len(answered) - len(measured),
        "prompt_tokens": None,
        "completion_tokens": None,
        "dollars_per_1000": None,
        "hosting_hour": price.hosting_hour if price else None,
    }
    if measured:
        sent = sum(row["prompt_tokens"] for row in measured)
        written = sum(row["completion_tokens"] for row in measured)
        cost["prompt_tokens"], cost["completion_tokens"] = sent / len(measured), written / len(measured)
        spent = dollars(model, sent, written, prices)
        cost["dollars_per_1000"] = None if spent is None else spent / len(measured) * 1000
    return cost


def break_even(
    baseline: ArmCost, trained: ArmCost, *, dataset: float | None = None, training: float | None = None
) -> BreakEven:
    """Weigh what dataset and training cost, in dollars, against what each question saves in tokens.

    Hosting by the hour is not in it: it depends on how many questions come in an hour.
    """
    before, after = baseline["dollars_per_1000"], trained["dollars_per_1000"]
    ratio = saved = questions = None
    if before is not None and after is not None:
        ratio = before / after if after else None
        saved = before - after
        once = (dataset or 0.0) + (training or 0.0)
        if saved > 0 and (dataset is not None or training is not None):
            questions = math.ceil(once / saved * 1000)
    return {
        "dataset": dataset,
        "training": training,
        "ratio": ratio,
        "saved_per_1000": saved,
        "questions": questions,
    }
