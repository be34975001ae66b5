"""The README and its pages: every link leads somewhere, every command has the options it is shown with."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer import Context
from typer.core import TyperGroup
from typer.main import get_command

from tests.readme import commands
from tools.verbs import app

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "flows/*/*.md",
        "workflows/*.md",
        "deploy/**/*.md",
        "data/**/README.md",
    )
    for path in ROOT.glob(pattern)
)


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), f"{page.name}: {link}"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{page.name}: {link}"


def _shown() -> list[str]:
    """Return every command of this project's command line that a page shows, without its environment."""
    lines = {line for page in PAGES for line in commands(page.read_text(encoding="utf-8"))}
    return sorted(match[1] for line in lines if (match := re.search(r"python -m tools (\w[^>|&]*)", line)))


@pytest.mark.parametrize("line", _shown())
def test_every_command_has_the_options_it_is_shown_with(line: str) -> None:
    command, words = get_command(app), shlex.split(line, comments=True)
    while isinstance(command, TyperGroup):
        command = command.commands[words.pop(0)]
    command.make_parser(Context(command)).parse_args(words)  # raises for an unknown option or a missing value


def test_there_are_commands_to_check() -> None:
    assert len(_shown()) > 50
