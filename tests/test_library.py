"""Imports of the library: their direction, their cost, and the public names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tools.raft

ROOT = Path(__file__).parent.parent
LIBRARY = ROOT / "tools" / "raft"


# A folder may import only from itself and from the layers before it in this list.
LAYERS = (
    "",
    "text",
    "models",
    "ingest",
    "dataset",
    "rag",
    "generate",
    "finetune",
    "evaluate",
    "share",
    "bench",
)


def imported_modules(file: Path) -> Iterator[tuple[str, ...]]:
    """Yield the path below tools.raft, in parts, of each library module that a file imports anywhere in its code."""
    package = file.relative_to(LIBRARY).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            parent = package[: len(package) - node.level + 1]
            module = tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                path = (*parent, *module, alias.name)
                is_module = (LIBRARY.joinpath(*path)).with_suffix(".py").exists()
                yield path if is_module else (*parent, *module)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tools."):
            yield tuple(node.module.split("."))[2:]  # type: ignore[union-attr]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_between_folders_follow_the_layers(layer: str) -> None:
    files = sorted((LIBRARY / layer).rglob("*.py")) if layer else sorted(LIBRARY.glob("*.py"))
    assert files
    violations = {
        f"{file.relative_to(LIBRARY)} imports {'.'.join(parts)}"
        for file in files
        for parts in imported_modules(file)
        if LAYERS.index(parts[0] if len(parts) > 1 or parts[0] in LAYERS else "") > LAYERS.index(layer)
    }
    assert not violations


def test_every_folder_is_a_layer() -> None:
    assert {path.parent.name for path in LIBRARY.glob("*/__init__.py")} == set(LAYERS) - {""}


def test_there_are_no_circular_imports() -> None:
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for file in LIBRARY.rglob("*.py"):
        graph[file.relative_to(LIBRARY).with_suffix("").parts] = set(imported_modules(file))
    done: set[tuple[str, ...]] = set()

    def visit(module: tuple[str, ...], path: tuple[tuple[str, ...], ...]) -> None:
        assert module not in path, " → ".join(".".join(step) for step in (*path, module))
        if module not in done:
            for imported in graph.get(module, ()):
                visit(imported, (*path, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_importing_the_whole_library_does_not_load_promptflow() -> None:
    script = (
        "import importlib, pkgutil, sys, tools.raft as library\n"
        "modules = [each.name for each in pkgutil.walk_packages(library.__path__, 'tools.raft.')]\n"
        "for name in [*modules]: importlib.import_module(name)\n"
        "for name in library.__all__: getattr(library, name)\n"
        "print(len(modules), [name for name in sys.modules if name.startswith('promptflow')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    count, _, loaded = done.stdout.strip().partition(" ")
    assert int(count) > 80
    assert loaded == "[]"


def test_every_public_name_exists() -> None:
    for name in tools.raft.__all__:
        assert getattr(tools.raft, name) is not None


def test_importing_the_library_loads_no_heavy_package() -> None:
    script = (
        "import sys; from tools.raft import Client, DatasetSettings, build_dataset, collect_chunks, run_job;"
        "print([name for name in ('torch', 'openai', 'numpy', 'pyarrow', 'jinja2', 'faiss') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def readme_example() -> str:
    """Return the Python example of the README."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return readme.partition("```python\n")[2].partition("```")[0]


def test_the_readme_example_uses_public_names_only() -> None:
    imports = [node for node in ast.walk(ast.parse(readme_example())) if isinstance(node, ast.ImportFrom)]
    names = {alias.name for node in imports if node.module == "tools.raft" for alias in node.names}
    assert len(names) > 5
    assert names <= set(tools.raft.__all__)
    assert {node.module for node in imports} == {"pathlib", "tools.raft"}


@pytest.mark.slow
def test_the_readme_example_runs_as_printed(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")
    done = subprocess.run(
        [sys.executable, "-c", readme_example()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert int(lines[0].partition(" rows")[0]) >= 1
    assert "bats.pdf" in lines[1]
