"""Each framework without the other: the workflows without promptflow, the project without Agent Framework."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.rag.test_answer import SPEED
from tests.scripted_endpoint import scripted_endpoint
from tools.raft.files import PROJECT, read_log, write_jsonl

HERE = PROJECT / "workflows"
# What `python -m` finds in front of the packages: as if they were not installed.
BLOCK = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
needs_agents = pytest.mark.skipif(
    importlib.util.find_spec("agent_framework") is None,
    reason="pip install --no-deps -r requirements-agents-dev.txt",
)


def without(names: list[str], folder: Path, *command: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the project in a process that cannot import these packages."""
    (folder / "sitecustomize.py").write_text(BLOCK.format(names=names), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=PROJECT, env={**os.environ, "PYTHONPATH": str(folder), **env}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip


@needs_agents
def test_without_promptflow_questions_are_answered(tmp_path: Path) -> None:
    lines = [{"question": SPEED}, {"question": " "}, {"question": "How deep is Cathedral Cave?"}]
    write_jsonl(tmp_path / "questions.jsonl", lines)
    with scripted_endpoint() as endpoint:
        batch = ("workflows.batch", "--data", tmp_path / "questions.jsonl", "--out", tmp_path / "answers.jsonl",
                 "--mode", "lexical", "--connection", f"{endpoint.url}:m")  # fmt: skip
        done = without(["promptflow", "promptflow_vectordb"], tmp_path, *batch)
        assert (done.returncode, endpoint.stats()["calls"]) == (3, 2), done.stderr
        assert "the first: question is empty" in done.stdout
        assert without(["promptflow"], tmp_path, *batch).returncode == 3
        assert endpoint.stats()["calls"] == 2, "no reply is paid for twice"
    rows = read_log(tmp_path / "answers.jsonl")
    assert [row["line_number"] for row in rows] == [0, 1, 2] and rows[1]["error"]
    assert rows[0]["citations"][0]["verbatim"] and rows[0]["inputs"] == lines[0]


@needs_agents
def test_without_promptflow_documents_become_a_dataset(tmp_path: Path) -> None:
    with scripted_endpoint() as endpoint:
        generate = ("workflows.generate", "--docs", PROJECT / "data" / "documents" / "caves.md", "--out",
                    tmp_path / "dataset", "--questions-per-chunk", 2, "--chunk-size", 160, "--distractors", 1,
                    "--connection", f"{endpoint.url}:m")  # fmt: skip
        done = without(["promptflow"], tmp_path, *generate)
        assert done.returncode == 0, done.stderr
        calls = endpoint.stats()["calls"]
        again = without(["promptflow"], tmp_path, *generate)
        assert (again.returncode, endpoint.stats()["calls"]) == (0, calls) and "0 calls paid" in again.stdout
    assert len(read_log(tmp_path / "dataset" / "raft.jsonl")) > 3


def test_without_agent_framework_all_else_works_and_the_workflows_say_what_is_missing(tmp_path: Path) -> None:
    done = without(["agent_framework"], tmp_path, "tools", "--help")
    assert done.returncode == 0 and "generate" in done.stdout
    command = (
        "workflows.batch",
        "--data",
        PROJECT / "data" / "questions.jsonl",
        "--out",
        tmp_path / "a.jsonl",
    )
    done = without(
        ["agent_framework"], tmp_path, *command, "--base-url", "http://127.0.0.1:9/v1", "--model", "m"
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert done.returncode == 1 and line.endswith("agent_framework: pip install -r requirements-agents.txt")


def test_the_workflows_import_the_library_and_nothing_imports_them() -> None:
    imported = re.compile(r"^\s*(?:from|import)\s+workflows\b", re.MULTILINE)
    assert not [
        file for file in (PROJECT / "tools").rglob("*.py") if imported.search(file.read_text("utf-8"))
    ]
    modules = set()
    for file in HERE.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                modules.add(node.module or "")
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
    tools = {module for module in modules if module.startswith("tools")}
    assert all(module.startswith(("tools.raft.", "tools.verbs.")) for module in tools), (
        "no node of promptflow"
    )
    assert not [module for module in modules if module.startswith("promptflow")]


@needs_agents
def test_the_workflows_have_the_nodes_inputs_and_outputs_of_the_flows() -> None:
    from dataclasses import fields

    from workflows.chat import OUTPUTS, Turn, build_chat
    from workflows.generation import build_generation

    flow = yaml.safe_load((PROJECT / "flow.dag.yaml").read_text("utf-8"))
    names = {node["name"] for node in flow["nodes"]}
    chat = build_chat(None, None)  # type: ignore[arg-type]
    assert set(chat.executors) == names - {"wants_stream"}
    assert tuple(flow["outputs"]) == OUTPUTS
    assert set(flow["inputs"]) <= {field.name for field in fields(Turn)}

    from tools.raft.generate.settings import DatasetSettings

    graphs = [yaml.safe_load((PROJECT / "flows" / name / "flow.dag.yaml").read_text("utf-8"))
              for name in ("ask_questions", "raft_generate")]  # fmt: skip
    nodes = {node["name"] for graph in graphs for node in graph["nodes"] if node.get("type") == "python"}
    executors = {
        name.partition("-")[0] for name in build_generation(None, DatasetSettings(), lanes=2).executors
    }  # type: ignore[arg-type]
    assert executors - {"read_chunks"} == nodes - {"make_chunk", "read_question", "write_questions"}
    inputs = next(node["inputs"] for node in graphs[1]["nodes"] if node["name"] == "write_dataset")
    settings = DatasetSettings()
    for name in ("distractors", "p", "negatives", "no_oracle", "valid", "test", "drills", "focus"):
        assert getattr(settings, name) == inputs[name], "the settings of the flow are those of the workflow"


def test_the_requirements_are_those_of_the_project() -> None:
    def pins(name: str) -> set[str]:
        lines = (PROJECT / name).read_text("utf-8").splitlines()
        return {line.partition("#")[0].strip() for line in lines if "==" in line.partition("#")[0]}

    own = {
        line for line in pins("requirements-agents.txt") if not line.startswith(("agent-", "opentelemetry-"))
    }
    assert own <= pins("requirements.txt")
    assert pins("requirements-agents-dev.txt") >= {
        line for line in pins("requirements-agents.txt") if line.startswith("agent-framework")
    }
    assert json.dumps(sorted(own)).count("promptflow") == 0
