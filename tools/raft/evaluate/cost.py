"""Compute what each arm costs per question, and after how many questions training has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

from ..models.pricing import Price, dollars, find_price


class ArmCost(TypedDict):
    """The cost of an arm's answers."""

    priced_as: str  # the name in the price table
    measured: int  # answers for which the endpoint reported token counts
    unmeasured: int
    prompt_tokens: float | None  # mean per question
    completion_tokens: float | None
    dollars_per_1000: float | None  # questions; None if price or tokens are unknown
    hosting_hour: float | None  # dollars, in addition to the tokens


class BreakEven(TypedDict):
    """What training cost, and what it saves."""

    dataset: float | None
    training: float | None
    ratio: float | None  # how many times cheaper the trained arm answers
    saved_per_1000: float | None
    questions: int | None  # after which it has paid for itself; None if never or unknown


def cost_arm(rows: Sequence[Mapping[str, Any]], model: str, prices: Mapping[str, Price]) -> ArmCost:
    """Price an arm's measured tokens; failed calls are left out of the mean."""
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
        prompt = sum(row["prompt_tokens"] for row in measured)
        completion = sum(row["completion_tokens"] for row in measured)
        cost["prompt_tokens"], cost["completion_tokens"] = prompt / len(measured), completion / len(measured)
        total = dollars(model, prompt, completion, prices)
        cost["dollars_per_1000"] = None if total is None else total / len(measured) * 1000
    return cost


def break_even(
    baseline: ArmCost, trained: ArmCost, *, dataset: float | None = None, training: float | None = None
) -> BreakEven:
    """Compare the cost of dataset and training, in dollars, with the token cost saved per question.

    Hourly hosting is not included: its cost per question depends on the traffic.
    """
    before, after = baseline["dollars_per_1000"], trained["dollars_per_1000"]
    ratio = saved = questions = None
    if before is not None and after is not None:
        ratio = before / after if after else None
        saved = before - after
        investment = (dataset or 0.0) + (training or 0.0)
        if saved > 0 and (dataset is not None or training is not None):
            questions = math.ceil(investment / saved * 1000)
    return {
        "dataset": dataset,
        "training": training,
        "ratio": ratio,
        "saved_per_1000": saved,
        "questions": questions,
    }
