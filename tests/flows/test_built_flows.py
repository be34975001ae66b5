"""What `pf flow build` puts into a folder: all that the flow needs, nothing that was left lying about."""

from __future__ import annotations

import ast
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.raft.files import PROJECT

NAMES = (".", *sorted(path.parent.name for path in (PROJECT / "flows").glob("*/flow.dag.yaml")))
SECRET = "a key, a document, a paid reply"
LEFT_BEHIND = (
    ".env",  # keys
    ".cache/replies.jsonl",
    ".promptflow/flow.detail.json",  # the texts of the last `pf flow test`
    ".promptflow/chat-1.detail.json",
    ".runs/run/outputs.jsonl",
    "tools/.env",
    "tools/__pycache__/ask.pyc",
    "index/.cache/embeddings.jsonl",
)


def flow_folder(name: str, project: Path = PROJECT) -> Path:
    return project if name == "." else project / "flows" / name


def graph(name: str) -> dict[str, Any]:
    return yaml.safe_load((flow_folder(name) / "flow.dag.yaml").read_text(encoding="utf-8"))


def sources(flow: dict[str, Any]) -> set[str]:
    """Return the files of all nodes, their variants included."""
    variants = [v["node"] for s in flow.get("node_variants", {}).values() for v in s["variants"].values()]
    return {node["source"]["path"] for node in (*flow["nodes"], *variants) if "source" in node}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the project and leave things lying about in it, as after a day's work."""
    folder = tmp_path_factory.mktemp("project")
    for path in PROJECT.iterdir():
        if path.is_file() and path.name not in (".env", ".git"):
            shutil.copy(path, folder)
    for name in ("tools", "prompts", "index", "connections", "flows", "deploy", "data/documents"):
        ignore = shutil.ignore_patterns("__pycache__", ".env", ".cache", ".runs")
        shutil.copytree(PROJECT / name, folder / name, ignore=ignore)
    for name in NAMES:
        for left in LEFT_BEHIND:
            # What a flow includes is shared; what it does not, each has in its own folder.
            below = folder if left.startswith(("tools", "index")) else flow_folder(name, folder)
            (below / left).parent.mkdir(parents=True, exist_ok=True)
            (below / left).write_text(SECRET, encoding="utf-8")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_a_build_holds_what_the_flow_needs_and_nothing_else(
    project: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from promptflow.client import PFClient

    # promptflow imports the nodes where it has put them: what that compiles is not what it puts there.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    PFClient().flows.build(flow_folder(name, project), output=tmp_path, flow_only=True)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    built = yaml.safe_load((tmp_path / "flow.dag.yaml").read_text(encoding="utf-8"))
    assert (tmp_path / built["environment"]["python_requirements_txt"]).is_file()
    assert (tmp_path / ".promptflow" / "flow.tools.json").is_file()
    assert all((tmp_path / source).is_file() for source in sources(built))
    nodes = {node["name"]: node.get("inputs", {}) for node in built["nodes"]}
    for node, inputs in nodes.items():
        if inputs.get("index") == "index":
            assert (tmp_path / "index" / "index.faiss").is_file(), f"{node} searches it"
    assert [str(path.relative_to(tmp_path)) for path in files if path.read_bytes() == SECRET.encode()] == []
    assert not [path for path in files if path.suffix in (".gguf", ".pyc")]
    assert not (tmp_path / "tests").exists()
    assert sum(path.stat().st_size for path in files) < 4e6


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, also those inside functions, as absolute names."""
    package = path.relative_to(PROJECT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            yield from (module, *(f"{module}.{alias.name}" for alias in node.names))


def reach(paths: Iterable[Path]) -> tuple[set[Path], set[str]]:
    """Return the files of this project that some of them import, and the modules of others."""
    todo, files, others = list(paths), set[Path](), set[str]()
    while todo:
        path = todo.pop()
        if path in files or not path.is_file():
            continue
        files.add(path)
        for module in imports(path):
            if module.split(".")[0] != "tools":
                others.add(module)
                continue
            place = PROJECT.joinpath(*module.split("."))
            todo += [place.with_suffix(".py"), *(folder / "__init__.py" for folder in (place, place.parent))]
    return files, others


def packages(requirements: Path) -> set[str]:
    """Return what a requirements file installs: the packages it names and those they need themselves."""
    named = {
        re.split(r"[=\[ ;]", line)[0].lower()
        for line in requirements.read_text(encoding="utf-8").splitlines()
        if line[:1] not in ("", "#")
    }
    found = set(named)
    for package in named:
        try:
            lines = requires(package) or []
        except PackageNotFoundError:
            continue
        found |= {re.split(r"[^\w.-]", line)[0].lower() for line in lines if "extra ==" not in line}
    return found


@pytest.mark.parametrize("name", NAMES)
def test_all_that_the_nodes_import_is_in_the_requirements_of_the_flow(name: str) -> None:
    flow = graph(name)
    nodes = [PROJECT / source for source in sources(flow) if source.endswith(".py")]
    installed = packages(PROJECT / flow["environment"]["python_requirements_txt"])
    owners = packages_distributions()
    for module in sorted(reach(nodes)[1]):
        top = module.split(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top == "azure":  # shared by many packages: azure.ai.ml is of azure-ai-ml
            assert any(module.replace(".", "-").startswith(package) for package in installed), module
        else:
            assert {owner.lower() for owner in owners.get(top, ())} & installed, f"{module} is not installed"


def test_what_a_training_asks_to_install_travels_with_its_flow() -> None:
    flow = graph("finetune")
    files, _ = reach(PROJECT / source for source in sources(flow) if source.endswith(".py"))
    named = {
        file
        for path in files
        for file in re.findall(r"-r (requirements[\w-]*\.txt)", path.read_text("utf-8"))
    }
    assert {"requirements-embedded.txt", "requirements-trl.txt"} <= named
    assert named <= {Path(include).name for include in flow["additional_includes"]}
