"""The commands of a section of a README, as a stranger pastes them."""

from __future__ import annotations

import re
from pathlib import Path


def section(path: Path, title: str) -> str:
    """Return the text below a heading, down to the next heading of the same level."""
    text = path.read_text(encoding="utf-8")
    match = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"{path} has no section {title!r}"
    return match[2]


def commands(text: str) -> list[str]:
    """Return the commands in the code blocks of a text, continued lines joined."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r" +", " ", line).strip() for line in lines if line.strip()]
