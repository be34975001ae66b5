"""No example names a model that is gone, or is about to be.

Examples are what somebody may paste or run: the code of every README (blocks and `inline`), all of the flows,
connections and deployments, and the program itself with its help. Prose and tables of a README, the price list, the
table of lives, DECISIONS.md and tests may speak of the past.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from tests.readme import section
from tools.raft.models.lives import Host, Life, find_life, load_lives

ROOT = Path(__file__).parent.parent
CHECKED_ON = max(date.today(), date(2027, 1, 15))

# Not examples: tables with sources and dates, history, documents to read.
_APART = ("tests/", "data/", "DECISIONS.md", "CONTRIBUTING.md", "LICENSE", "requirements")
_SUFFIXES = {".md", ".py", ".yaml", ".yml", ".json", ".jsonl", ".jinja2", ".example", ".toml", ""}
_TABLES = {"lives.json", "prices.json", "tokenizer.json"}
_AZURE = re.compile(r"azure", re.IGNORECASE)
_OPENAI = re.compile(r"(?<!azure_)openai:|api\.openai\.com", re.IGNORECASE)


def _names() -> re.Pattern[str]:
    """Return what matches a model in the table with its snapshot, and anything else that looks like OpenAI's."""
    known = {name for table in load_lives().values() for name in table if not re.match(r"gpt-\d|o\d", name)}
    alternatives = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    return re.compile(rf"(?<![\w.-])(?:{alternatives}|gpt-\d[\w.]*(?:-\w+)*|o[134](?:-mini)?)(?![\w-])")


def example_lines(path: str, text: str) -> Iterator[str]:
    """Yield the lines of a file that are an example; of Markdown the code only, continued lines joined."""
    if path.endswith(".md"):
        blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
        inline = re.findall(
            r"(?<!`)`([^`\n]+)`(?!`)", re.sub(r"^ *```.*?^ *```", "", text, flags=re.M | re.S)
        )
        text = "\n".join([*blocks, *inline])
    yield from text.replace("\\\n", " ").splitlines()


def hosts_named(line: str) -> list[Host]:
    """Return the hosts that a line names; both if it names none, since the user then chooses."""
    named: list[Host] = ["azure"] if _AZURE.search(line) else []
    if _OPENAI.search(line):
        named.append("openai")
    return named or ["openai", "azure"]


def problem(name: str, hosts: list[Host]) -> str:
    """Return why no example may name a model at these hosts, or "" if one of them has it."""
    lives: list[Life] = [found.life for host in hosts if (found := find_life(host, name))]
    if not lives:
        return f"{name} is not in tools/raft/models/lives.json for {' or '.join(hosts)}"
    if any(life.retires is None or life.retires > CHECKED_ON for life in lives):
        return ""
    return f"{name} is gone on {CHECKED_ON}: use {' or '.join(life.instead for life in lives)}"


def _files() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return [
        name
        for name in listed.splitlines()
        if not name.startswith(_APART) and Path(name).suffix in _SUFFIXES and Path(name).name not in _TABLES
    ]


def test_no_example_names_a_model_that_is_gone() -> None:
    files = _files()
    if not files:
        pytest.skip("not a git working tree")
    assert {"README.md", "deploy/pipeline/pipeline.yaml", "flows/finetune/orders.jsonl"} <= set(files)
    problems, seen = [], 0
    pattern = _names()
    for file in files:
        for line in example_lines(file, (ROOT / file).read_text(encoding="utf-8")):
            for name in pattern.findall(line):
                seen += 1
                if why := problem(name, hosts_named(line)):
                    problems.append(f"{file}: {line.strip()[:120]}: {why}")
    assert not problems, "\n".join(problems)
    assert seen > 20


@pytest.mark.parametrize(
    ("line", "fails"),
    [
        ("--connection openai:gpt-4o --batch", True),
        ("--connection openai:gpt-4.1-mini", True),
        ("--model azureml-meta/Meta-Llama-3.1-8B-Instruct:4", True),
        ("azure_openai:gpt-4o-2024-05-13", True),
        ("openai:gpt-9-nobody", True),
        ('{"model": "gpt-4.1-nano"}', date(2027, 4, 14) <= CHECKED_ON),  # gone at OpenAI, not at Azure
        ("openai:gpt-6-luna and azure_openai:text-embedding-3-small", False),
        ("serverless:llama-3-70b, gpt-4o-mini-ours", True),
    ],
)
def test_the_check_finds_what_it_should(line: str, fails: bool) -> None:
    assert any(problem(name, hosts_named(line)) for name in _names().findall(line)) == fails


def test_the_documentation_shows_the_dates_of_the_table() -> None:
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in section(ROOT / "docs" / "finetune.md", "Models that go").splitlines()
        if re.match(r"\| (OpenAI|Azure) ", line)
    ]
    assert len(rows) > 5
    for host, models, *dates, _ in rows:
        for model in models.split(", "):
            found = find_life("openai" if host == "OpenAI" else "azure", model)
            assert found is not None, model
            life = found.life
            training = life.training_ends or (None if life.tunable else life.retires)
            for shown, known in zip(dates, (life.retires, training, life.tuned_retires), strict=True):
                assert shown in ("", "no date") if known is None else shown in ("", str(known)), (
                    model,
                    shown,
                )


def test_in_markdown_only_code_is_an_example() -> None:
    text = "Once it was gpt-4o.\n\n```\nrun \\\n  --model a\n```\nor `b c`, in | gpt-4 |.\n"
    assert list(example_lines("README.md", text)) == ["run    --model a", "", "b c"]
