"""Compare texts by their content words."""

from __future__ import annotations

import re

from .normalise import UNSPACED, normalise

# English, like the default prompts; in other languages function words count as content, so more is rejected.
_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an the of in on at to for from by with and or as is are was were be been being do does did has
        have had can could will would should may might must not it its this that these those they their he
        his she her there what which who whom whose when where why how many much long old often far than
        into about some any one kind type name called s""",
    )
)


def is_function_word(word: str) -> bool:
    """Return whether a word is an English function word, such as an article or a preposition."""
    return normalise(word) in _FUNCTION_WORDS


def content_words(text: str) -> set[str]:
    """Return the words that carry the meaning; single characters in scripts without spaces."""
    words = [word for word in normalise(text).split() if word not in _FUNCTION_WORDS]
    return {piece for word in words for piece in (UNSPACED.findall(word) or [word])}


def all_words(text: str) -> set[str]:
    """Return all words of a text, for `matches_any`."""
    return set(normalise(text).split()) | set(UNSPACED.findall(text))


def matches_any(word: str, words: set[str]) -> bool:
    """Return whether a word is among others, ignoring its ending."""
    return word in words or any(_same_stem(word, other) for other in words)


def _same_stem(word: str, other: str) -> bool:
    shorter = min(len(word), len(other))
    return word.rstrip("s") == other.rstrip("s") or (
        shorter > 3 and word[: max(4, shorter - 2)] == other[: max(4, shorter - 2)]
    )
