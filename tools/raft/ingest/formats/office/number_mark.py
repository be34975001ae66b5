"""Mark the automatic numbers of lists, so that they become text in place of a bullet."""

from __future__ import annotations

# A code that is no character, so that no text has it; converters to HTML and Markdown leave it alone.
NUMBER_MARK = "\ufdd0"


def place_numbers(text: str) -> str:
    """Return Markdown with marked numbers in place of their bullets: "- MARK(a) text" becomes "(a) text"."""
    return text.replace(f"- {NUMBER_MARK}", "").replace(NUMBER_MARK, "")
