"""Read off the probabilities of its tokens how sure a model was of what it wrote."""

from __future__ import annotations

from collections.abc import Sequence

# Set on rows of the embedded teacher that were read one by one, see DECISIONS.md.
_LEAST_MEAN = -0.75
_LEAST_TOKEN = -2.0
_LEAST_TOTAL = -1.0


def logprobs_after(mark: str, logprobs: Sequence[tuple[str, float]]) -> list[float]:
    """Give the log-probabilities of the tokens that follow the first occurrence of a mark.

    logprobs: (token, natural logarithm of its probability), in order. Empty where the mark is missing
    or the endpoint told none.
    """
    text, following = "", []
    for token, logprob in logprobs:
        if mark in text:
            following.append(logprob)
        text += token
    return following


def is_likely_wording(logprobs: Sequence[float]) -> bool:
    """Tell whether a sentence came easily: likely tokens on average, and none far-fetched. True for none."""
    return not logprobs or (sum(logprobs) / len(logprobs) >= _LEAST_MEAN and min(logprobs) >= _LEAST_TOKEN)


def is_likely_answer(logprobs: Sequence[float]) -> bool:
    """Tell whether the model would rather say just this than anything else. True for none."""
    return sum(logprobs) >= _LEAST_TOTAL
