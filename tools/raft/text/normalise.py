"""Normalise text for comparison: Unicode forms, quotation marks, white space, case, punctuation."""

from __future__ import annotations

import re
import unicodedata

# Scripts written without spaces between words: Thai, Lao, Khmer, Japanese, Chinese.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")

_QUOTES = str.maketrans(
    {
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‘": "'",
        "’": "'",
        "‚": "'",
        "–": "-",
        "—": "-",
        "‑": "-",
        "−": "-",
    }
)
_INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u2060\ufeff]")


def fold(text: str) -> str:
    """Fold differences that do not change the wording: Unicode forms, quotation marks, dashes, white space.

    Case is kept, since a verbatim quote keeps it. Used to compare a quote with its document.
    """
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).translate(_QUOTES)
    return " ".join(text.split())


def normalise(text: str) -> str:
    """Fold case, punctuation and white space, to compare questions and answers."""
    return " ".join(re.findall(r"\w+", fold(text).casefold()))
