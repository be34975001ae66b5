"""Estimate the calls, tokens and cost of generating a dataset before any call is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..models.endpoint import Endpoint
from ..models.pricing import Price, dollars, load_prices
from ..prompts import render
from ..records import Kind
from .draft import choose_teacher


@dataclass(frozen=True)
class Estimate:
    """Calls, tokens and cost of a generation, without retries; dollars is None if the price is unknown."""

    calls: int
    prompt_tokens: int
    completion_tokens: int
    dollars: float | None


def estimate_generation(
    chunk_tokens: Iterable[int],
    *,
    questions: int,
    prompt_overhead_tokens: int,
    answer_tokens: int = 200,
    question_tokens: int = 20,
    given: int = 0,
    pairs: int = 0,
    model: str = "",
    prices: Mapping[str, Price] | None = None,
) -> Estimate:
    """Estimate a generation: one call per chunk for its questions, one per question for its answer.

    Every call sends its chunk and `prompt_overhead_tokens` of instructions; a reply has `question_tokens`
    for each question, or `answer_tokens` for an answer. Each of the `given` questions takes one answer,
    from a chunk of mean length. Each of the `pairs` takes a call for its questions and, for each of them, one
    for the answer and one with either chunk alone. Retries of rejected answers are not included.
    """
    sizes = list(chunk_tokens)
    chunks, total = len(sizes), sum(sizes)
    asks = chunks if questions else 0
    answers = chunks * questions
    mean = round(total / chunks) if chunks else 0
    prompt = (
        (total + asks * prompt_overhead_tokens if asks else 0)
        + total * questions
        + given * mean
        + (answers + given) * (prompt_overhead_tokens + question_tokens)
    )
    completion = answers * question_tokens + (answers + given) * answer_tokens
    of_pairs = pairs * questions
    prompt += pairs * (2 * mean + prompt_overhead_tokens)
    prompt += of_pairs * (4 * mean + 3 * (prompt_overhead_tokens + question_tokens))
    completion += of_pairs * (question_tokens + 3 * answer_tokens)
    calls = asks + answers + given + pairs + 3 * of_pairs
    cost = dollars(model, prompt, completion, load_prices() if prices is None else prices)
    return Estimate(calls, prompt, completion, cost)


def prompt_overhead(endpoint: Endpoint, kinds: Iterable[Kind]) -> int:
    """Estimate the tokens of a prompt's instructions, at four characters each."""
    teacher = choose_teacher(endpoint)
    blank = {"chunk": "", "question": "", "passage": "", "target": "", "n": 1}
    return max(
        sum(len(message["content"]) for message in render(name, **blank)) // 4
        for kind in kinds
        for name in teacher.prompts(kind)
    )
